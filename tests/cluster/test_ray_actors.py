"""What an actor does about failures of its own."""

from batchmill.cluster.ray_actors import next_pause


def test_failures_in_a_row_are_waited_out_for_longer_and_longer_up_to_a_limit() -> None:
    pauses = [0.0]
    for _ in range(7):
        pauses.append(next_pause(pauses[-1], stood=False))
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_failure_after_good_times_is_a_first_one_again() -> None:
    assert next_pause(30.0, stood=True) == 1.0
