"""The simulated engine's slots."""

from batchmill.upstream.mock.slots import Admission, Slots


def test_slots_then_queue_then_refusal() -> None:
    slots: Slots[str] = Slots(2, 1)
    assert [slots.enter(name) for name in "abcd"] == [
        Admission.WORKING,
        Admission.WORKING,
        Admission.QUEUED,
        Admission.REFUSED,
    ]


def test_the_queue_is_served_in_its_order() -> None:
    slots: Slots[str] = Slots(1, None)
    for name in "abc":
        slots.enter(name)
    assert slots.promote() == []
    slots.leave("a")
    assert slots.promote() == ["b"]
    assert slots.promote() == []
    slots.leave("b")
    assert slots.promote() == ["c"]


def test_one_who_gives_up_in_the_queue_takes_no_slot() -> None:
    slots: Slots[str] = Slots(1, None)
    for name in "abc":
        slots.enter(name)
    slots.leave("b")
    slots.leave("nobody")
    slots.leave("a")
    assert slots.promote() == ["c"]


def test_more_slots_let_the_queue_in() -> None:
    slots: Slots[str] = Slots(1, None)
    for name in "abcd":
        slots.enter(name)
    slots.slots = 3
    assert slots.promote() == ["b", "c"]
    slots.slots = None
    assert slots.promote() == ["d"]
