"""What a batch's progress says about its end."""

from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.pacing import Bound
from batchmill.ports import Progress
from batchmill.service.outlook import UNKNOWN, Concurrency, foresee

NOW = 1000.0


def batch(status: Status = Status.IN_PROGRESS, *, expires_at: float = 1100.0) -> Batch:
    return Batch(
        id="batch_1",
        account="default",
        input_file_id="f",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=status,
        created_at=900.0,
        expires_at=expires_at,
        counts=Counts(total=100, completed=48, failed=2),
    )


def test_the_rate_tells_the_end() -> None:
    found = foresee(batch(), Progress(None, 2.0), NOW)
    assert (found.eta_seconds, found.lines_per_second) == (25.0, 2.0)


def test_risk_is_ending_after_the_deadline() -> None:
    in_time, late = batch(expires_at=1025.0), batch(expires_at=1024.9)
    assert foresee(in_time, Progress(None, 2.0), NOW).deadline_risk is False
    assert foresee(late, Progress(None, 2.0), NOW).deadline_risk is True


def test_without_a_rate_nothing_is_foretold() -> None:
    for rate in (None, 0.0):
        found = foresee(batch(), Progress(4, rate), NOW)
        assert (found.eta_seconds, found.deadline_risk, found.queue_position) == (None, None, 4)


def test_only_a_running_batch_has_an_end_in_sight() -> None:
    assert foresee(batch(Status.FINALIZING), Progress(None, 2.0), NOW).eta_seconds is None
    assert foresee(batch(Status.COMPLETED), Progress(None, 2.0), NOW) == UNKNOWN
    assert foresee(batch(), None, NOW) == UNKNOWN


def test_only_a_batch_in_progress_has_requests_in_flight() -> None:
    told = Concurrency(256, 512, Bound.TRIAL)
    assert foresee(batch(), Progress(None, 2.0), NOW, told).concurrency == told
    assert foresee(batch(Status.FINALIZING), Progress(None, 2.0), NOW, told).concurrency is None
