"""What is told when something ends, to whom, and when it is told again."""

import json
import time
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.money import UNITS
from batchmill.domain.post import (
    FAILURES_TO_OPEN,
    LONGEST_PAUSE,
    Tried,
    after_try,
    breaker_after,
    headers_of,
    pause_after,
)
from batchmill.domain.webhook import (
    CALLBACK_KEY,
    EVENT_TYPES,
    Delivery,
    WebhookEndpoint,
    WebhookEvent,
    batch_event,
    deliveries_of,
    make_webhook_secret,
    spending_event,
)

T0 = 1_760_000_000.5
HOUR = 3600.0
SECRET = make_webhook_secret(bytes(range(32)))
OTHER = make_webhook_secret(bytes(32))
BATCH = Batch(
    id="batch_1",
    account="acme",
    input_file_id="file-batch-1",
    endpoint="/v1/chat/completions",
    completion_window="24h",
    status=Status.COMPLETED,
    created_at=T0,
    expires_at=T0 + 86_400,
)
ENDPOINT = WebhookEndpoint(
    id="we_1",
    account="acme",
    name="n",
    url="https://hooks.example.com/",
    event_types=("batch.completed",),
    secret=SECRET,
    created_at=T0,
    updated_at=T0,
)


def the_event(batch: Batch = BATCH) -> WebhookEvent:
    event = batch_event(batch, T0)
    assert event is not None
    return event


def a_delivery() -> Delivery:
    return deliveries_of(the_event(), (ENDPOINT,))[0]


@pytest.mark.parametrize("status", Status)
def test_batches_are_told_of_at_their_end_and_not_before(status: Status) -> None:
    event = batch_event(replace(BATCH, status=status), T0)
    if status.is_terminal:
        assert event is not None
        assert event.type == f"batch.{status}"
        assert event.type in EVENT_TYPES
        body = json.loads(event.payload)
        assert body == {
            "id": event.id,
            "object": "event",
            "created_at": int(T0),
            "type": f"batch.{status}",
            "data": {"id": "batch_1"},
        }
    else:
        assert event is None


def test_the_same_end_told_again_is_the_same_event_and_another_end_is_another() -> None:
    assert the_event().id == the_event(replace(BATCH, completed_at=T0 + 9)).id
    others = {the_event(replace(BATCH, id="batch_2")).id}
    others.add(the_event(replace(BATCH, status=Status.FAILED)).id)
    assert len(others | {the_event().id}) == 3


def test_a_callback_gets_an_envelope_with_what_became_of_the_batch() -> None:
    batch = replace(
        BATCH,
        metadata={CALLBACK_KEY: "https://me.example.com/done?x=1"},
        in_progress_at=T0 + 1,
        counts=Counts(3, 2, 1),
        output_file_id="file-batch_output-1",
    )
    event = batch_event(batch, T0 + 5)
    assert event is not None
    assert event.callback == "https://me.example.com/done?x=1"
    body = json.loads(event.callback_payload or "")
    assert body["type"] == "dashscope:System:BatchTaskFinish"
    assert (body["specversion"], body["id"]) == ("1.0", event.id)
    assert body["data"] == {
        "task_id": "batch_1",
        "task_status": "completed",
        "start_time": int(T0 + 1),
        "end_time": int(T0 + 5),
        "input_file_id": "file-batch-1",
        "output_file_id": "file-batch_output-1",
        "error_file_id": None,
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
    }


@pytest.mark.parametrize("url", ["", "later", "ftp://x.example/", "http://x\r\ny/"])
def test_a_callback_that_is_no_url_is_left_out(url: str) -> None:
    event = the_event(replace(BATCH, metadata={CALLBACK_KEY: url}))
    assert event.callback is None
    assert event.callback_payload is None


def test_a_passed_threshold_is_told_with_exact_amounts() -> None:
    cap = Cap("acme", Scope.WORKSPACE, "ws_1", "CNY", 100 * UNITS, alert_percent=80)
    event = spending_event(cap, 80 * UNITS + 1, T0)
    assert event.type == "spending.threshold_reached"
    assert json.loads(event.payload)["data"] == {
        "scope": "workspace",
        "id": "ws_1",
        "currency": "CNY",
        "limit": "100",
        "spent": "80.000000000000001",
        "alert_percent": 80,
        "month": "2025-10",
    }
    assert event.id == spending_event(cap, 90 * UNITS, T0 + 60).id
    assert event.id != spending_event(cap, 90 * UNITS, T0 + 40 * 86_400).id


def test_an_event_goes_to_each_endpoint_that_wants_it_and_to_its_callback() -> None:
    deaf = replace(ENDPOINT, id="we_2", event_types=("batch.failed",))
    batch = replace(BATCH, metadata={CALLBACK_KEY: "http://me.example.com/"})
    told = deliveries_of(the_event(batch), (ENDPOINT, deaf))
    assert [(one.endpoint_id, one.url) for one in told] == [
        ("we_1", ENDPOINT.url),
        (None, "http://me.example.com/"),
    ]
    assert len({one.id for one in told}) == 2
    assert {one.event_id for one in told} == {the_event().id}


def test_the_official_client_unwraps_what_either_secret_signed() -> None:
    now = time.time()  # the client looks at the clock on the wall
    delivery = a_delivery()
    rotated = replace(ENDPOINT, old_secret=OTHER, old_secret_until=now + 1)
    headers = headers_of(delivery, rotated, now)
    client = OpenAI(api_key="k")
    for secret in (SECRET, OTHER):
        event = client.webhooks.unwrap(delivery.payload, headers, secret=secret)
        assert event.type == "batch.completed"
        assert event.data.id == "batch_1"
    assert len(headers["webhook-signature"].split()) == 2


def test_an_old_secret_signs_up_to_its_end_and_not_from_then_on() -> None:
    rotated = replace(ENDPOINT, old_secret=OTHER, old_secret_until=T0)
    assert rotated.secrets(T0 - 0.001) == (SECRET, OTHER)
    assert rotated.secrets(T0) == (SECRET,)
    assert ENDPOINT.secrets(T0) == (SECRET,)


def test_a_signature_is_that_of_the_standard() -> None:
    # the example of the specification's own libraries
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    event = replace(
        a_delivery(), event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", payload='{"test": 2432232314}'
    )
    headers = headers_of(event, replace(ENDPOINT, secret=secret), 1614265330.9)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_callback_names_its_event_and_is_not_signed() -> None:
    headers = headers_of(a_delivery(), None, T0)
    assert headers["webhook-id"] == the_event().id
    assert headers["webhook-timestamp"] == str(int(T0))
    assert "webhook-signature" not in headers


def test_secrets_are_shown_by_their_end_alone() -> None:
    assert b64decode(SECRET.removeprefix("whsec_")) == bytes(range(32))
    assert SECRET[-4:] in ENDPOINT.secret_hint
    assert SECRET[6:12] not in ENDPOINT.secret_hint
    assert SECRET not in repr(ENDPOINT)


@pytest.mark.parametrize(
    ("status", "taken"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_every_2xx_acknowledges_and_nothing_else(status: int, taken: bool) -> None:
    assert Tried(T0, status).is_acknowledged is taken
    after = after_try(a_delivery(), Tried(T0, status), give_up_after=HOUR, jitter=0.5)
    assert (after.delivered_at == T0) is taken
    assert (after.next_at is None) is taken
    assert (after.attempts, after.last_status) == (1, status)


@given(attempts=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_pauses_grow_from_five_seconds_to_an_hour(attempts: int, jitter: float) -> None:
    pause = pause_after(attempts, jitter)
    assert 3.75 <= pause <= LONGEST_PAUSE
    assert pause_after(1, jitter) <= 6.25
    assert pause_after(attempts + 1, jitter) >= pause
    assert pause_after(12, jitter) == LONGEST_PAUSE


def test_a_delivery_is_given_up_when_the_next_try_would_come_too_late() -> None:
    delivery = replace(a_delivery(), created_at=T0)
    failed = Tried(T0 + 100, fault="timeout")
    kept = after_try(delivery, failed, give_up_after=105.0, jitter=0.5)
    assert kept.next_at == T0 + 105
    assert kept.given_up_at is None
    given = after_try(delivery, failed, give_up_after=104.9, jitter=0.5)
    assert given.next_at is None
    assert given.given_up_at == T0 + 100
    assert given.last_error == "timeout"


def test_the_breaker_opens_at_the_eighth_failure_and_closes_at_a_success() -> None:
    endpoint = ENDPOINT
    for _ in range(FAILURES_TO_OPEN - 1):
        endpoint = breaker_after(endpoint, Tried(T0, 500))
    assert endpoint.open_until is None
    endpoint = breaker_after(endpoint, Tried(T0, 500))
    assert endpoint.open_until == T0 + 60
    closed = breaker_after(endpoint, Tried(T0 + 60, 204))
    assert (closed.failures, closed.open_until) == (0, None)


def test_an_opening_doubles_with_each_failed_probe_up_to_an_hour() -> None:
    endpoint = replace(ENDPOINT, failures=FAILURES_TO_OPEN, open_until=T0)
    openings = []
    now = T0
    for _ in range(8):
        endpoint = breaker_after(endpoint, Tried(now, fault="timeout"))
        assert endpoint.open_until is not None
        openings.append(endpoint.open_until - now)
        now = endpoint.open_until
    assert openings == [120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_what_was_sent_before_the_breaker_opened_is_no_probe() -> None:
    endpoint = replace(ENDPOINT, failures=FAILURES_TO_OPEN, open_until=T0 + 60)
    assert breaker_after(endpoint, Tried(T0 + 59, 500)) == endpoint
    assert breaker_after(endpoint, Tried(T0 + 59, 200)).open_until is None
