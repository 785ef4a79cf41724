"""``batchmill watch``: what a reader sees, when it asks again, and how it ends."""

import io

import pytest
from client_fake import (
    BATCH_ID,
    URL,
    Desk,
    FakeServer,
    cut_off,
    fault,
    refuse_connection,
    state,
)

from batchmill.cli.client_progress import Speedometer, show_span


def test_a_pipe_gets_a_line_for_each_change() -> None:
    running = state("in_progress", 3, 1, 9)
    end = state("completed", 9, 0, 9, usage={"input_tokens": 1200, "output_tokens": 34})
    desk = Desk(FakeServer([state("validating"), running, running, running, end]))
    ran = desk.run("watch", BATCH_ID)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{BATCH_ID}: validating",
        f"{BATCH_ID}: in_progress, 4 of 9 requests, 1 failed",
        f"{BATCH_ID}: completed, 9 of 9 requests, 1,200 tokens in, 34 out",
    ]


@pytest.mark.parametrize(
    ("price", "shown"),
    [("12.3456", "12.35"), ("0.01", "0.01"), ("0.0099", "0.009900"), ("0", "0.00")],
)
def test_the_end_says_what_it_cost(price: str, shown: str) -> None:
    cost = {"currency": "USD", "list_price": "99", "price": price, "is_final": True}
    end = state("completed", 1, 0, 1, batchmill={"cost": cost})
    ran = Desk(FakeServer([end])).run("watch", BATCH_ID)
    assert ran.out == f"{BATCH_ID}: completed, 1 of 1 request, {shown} USD\n"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (state("completed", 2, 0, 2), 0),
        (state("completed", 1, 1, 2), 1),
        (state("failed"), 1),
        (state("expired", 2, 0, 2), 1),
        (state("cancelled", 2, 0, 2), 1),
    ],
)
def test_the_exit_code_says_whether_every_request_succeeded(
    end: dict[str, object], code: int
) -> None:
    assert Desk(FakeServer([end])).run("watch", BATCH_ID).code == code


def test_it_asks_less_and_less_often_up_to_five_seconds_and_anew_after_a_change() -> None:
    running = [state("in_progress", total=9)] * 9
    desk = Desk(
        FakeServer([*running, state("finalizing", total=9), state("completed", 9, total=9)])
    )
    desk.run("watch", BATCH_ID)
    assert desk.naps == [0.5, 0.75, 1.125, 1.6875, 2.53125, 3.796875, 5.0, 5.0, 5.0, 0.5]


def test_faults_of_the_input_are_told_with_their_lines() -> None:
    faults = [{"code": "invalid_url", "message": "No\x1b[2J.", "param": "url", "line": 7}]
    desk = Desk(FakeServer([state("failed", errors={"object": "list", "data": faults})]))
    ran = desk.run("watch", BATCH_ID)
    assert ran.out.splitlines() == [
        f"{BATCH_ID}: failed, 1 fault",
        "line 7: invalid_url: No\\x1b[2J.",
    ]


def test_json_is_one_object_at_the_end() -> None:
    desk = Desk(FakeServer([state("in_progress", total=2), state("expired", 1, 1, 2)]))
    ran = desk.run("watch", BATCH_ID, "--json")
    assert (ran.code, ran.err) == (1, "")
    assert [one["status"] for one in ran.objects] == ["expired"]


def test_an_outage_is_told_once_and_outlived() -> None:
    desk = Desk(FakeServer([state("in_progress", total=2), state("completed", 2, total=2)]))
    desk.server.troubles = [
        lambda _: None,
        cut_off,
        refuse_connection,
        lambda _: fault(503, "Starting."),
    ]
    ran = desk.run("watch", BATCH_ID)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"The connection to {URL} broke before the answer was whole: try again. Asking on.",
        "The server answers again.",
    ]
    assert ran.out.splitlines()[-1] == f"{BATCH_ID}: completed, 2 of 2 requests"


def test_each_outage_is_told() -> None:
    desk = Desk(FakeServer([state("in_progress", total=2), state("completed", 2, total=2)]))
    desk.server.troubles = [lambda _: None, cut_off, lambda _: None, cut_off]
    desk.server.states.insert(0, state("in_progress", total=2))
    assert desk.run("watch", BATCH_ID).err.count("Asking on.") == 2


def test_a_server_that_is_not_there_at_first_is_not_waited_for() -> None:
    desk = Desk()
    desk.server.troubles = [refuse_connection]
    ran = desk.run("watch", BATCH_ID)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"batchmill: Cannot reach {URL}: is it running? Start it with `batchmill serve`.\n"
    )
    assert desk.naps == []


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_ends_the_watching(status: int) -> None:
    desk = Desk(FakeServer([state("in_progress", total=2), state("completed", 2, total=2)]))
    desk.server.troubles = [lambda _: None, lambda _: fault(status, "No.")]
    ran = desk.run("watch", BATCH_ID)
    assert ran.code == 2
    assert ran.err.startswith("batchmill: No.")


def test_ctrl_c_stops_the_watching_alone_and_says_so() -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    desk = Desk(FakeServer([state("in_progress", total=2)]), on_nap=interrupt)
    ran = desk.run("watch", BATCH_ID)
    assert ran.code == 130
    assert ran.err.startswith("Stopped watching; the batch goes on.")
    assert f"`batchmill cancel {BATCH_ID}`" in ran.err
    assert [one.method for one in desk.server.asked] == ["GET"]


# --- for people ---


def test_a_person_sees_a_bar_with_rate_and_time_left() -> None:
    told = {"progress": {"lines_per_second": 12.5, "eta_seconds": 200, "queue_position": None}}
    screen = io.StringIO()
    running = state("in_progress", 100, 3, 1000, batchmill=told)
    desk = Desk(FakeServer([running, state("completed", 997, 3, 1000)]), screen=screen)
    ran = desk.run("watch", BATCH_ID)
    assert (ran.code, ran.out) == (1, "")
    shown = screen.getvalue()
    assert "103/1000" in shown
    assert "3 failed, 12.5/s, 3m 20s left" in shown
    assert f"{BATCH_ID}: completed, 1,000 of 1,000 requests, 3 failed" in shown


def test_a_server_that_tells_no_rate_has_it_measured() -> None:
    screen = io.StringIO()
    states = [state("in_progress", done, total=100) for done in (0, 10, 20)]
    Desk(FakeServer([*states, state("completed", 100, total=100)]), screen=screen).run(
        "watch", BATCH_ID
    )
    assert "20.0/s, 4s left" in screen.getvalue()  # ten requests in the first half second
    assert "16.0/s, 5s left" in screen.getvalue()  # twenty in a second and a quarter


def test_a_person_learns_the_place_in_the_queue_and_of_outages() -> None:
    screen = io.StringIO()
    queued = state("in_progress", total=5, batchmill={"progress": {"queue_position": 2}})
    desk = Desk(FakeServer([queued, state("completed", 5, total=5)]), screen=screen)
    desk.server.troubles = [lambda _: None, refuse_connection]
    assert desk.run("watch", BATCH_ID).err == ""
    assert "place 2 in the queue" in screen.getvalue()
    assert "Cannot reach" in screen.getvalue()


def test_with_json_a_person_sees_the_bar_on_stderr() -> None:
    screen = io.StringIO()
    desk = Desk(error_screen=screen)
    ran = desk.run("watch", BATCH_ID, "--json")
    assert len(ran.objects) == 1
    assert "2/2" in screen.getvalue()


def test_the_speed_is_that_of_the_last_half_minute() -> None:
    speed = Speedometer()
    assert speed.read(0.0, 0) is None
    assert speed.read(10.0, 100) == 10.0
    assert speed.read(40.0, 100) is None
    assert speed.read(50.0, 200) == 2.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (59.4, "59s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3600, "1h 00m"),
        (86_399, "23h 59m"),
        (86_400, "1d 0h"),
    ],
)
def test_spans_are_short(seconds: float, text: str) -> None:
    assert show_span(seconds) == text
