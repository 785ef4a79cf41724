"""Which batches use which files, for every database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from store_cases import T0, a_batch, finished, planned, with_store

from batchmill.domain.batch import Batch, Event, Status, advance
from batchmill.ports import FileRole, FileUse, Store


async def delivered(store: Store, batch: Batch, output: str, error: str | None) -> None:
    """``batch`` at its end, with result files of these ids."""
    finalizing = advance(await planned(store, batch), Event.SETTLED, T0 + 2)
    assert await store.batches.move(replace(batch, status=Status.IN_PROGRESS), finalizing)
    ended = advance(finalizing, Event.DELIVERED, T0 + 3)
    ended = replace(ended, output_file_id=output, error_file_id=error)
    assert await store.batches.deliver(finalizing, ended, ())


async def using(
    store: Store, *file_ids: str, account: str = "acme", most: int = 9
) -> Mapping[str, Sequence[FileUse]]:
    return await store.batches.using(account, file_ids, most=most)


def ids(uses: Sequence[FileUse]) -> list[str]:
    return [use.batch_id.removeprefix("batch_") for use in uses]


@with_store
async def test_a_file_has_a_role_in_each_batch_that_it_belongs_to(store: Store) -> None:
    batch = a_batch(input_file_id="in", metadata={"ds_name": "Nightly <b>Run</b>"})
    await delivered(store, batch, "out", "err")
    name, status = "Nightly <b>Run</b>", Status.COMPLETED
    assert await using(store, "in", "out", "err", "none") == {
        "in": [FileUse(batch.id, name, FileRole.INPUT, status)],
        "out": [FileUse(batch.id, name, FileRole.OUTPUT, status)],
        "err": [FileUse(batch.id, name, FileRole.ERROR, status)],
    }
    assert set(await using(store, "out")) == {"out"}


@with_store
async def test_a_result_that_became_an_input_has_both_roles(store: Store) -> None:
    await delivered(store, a_batch("first", input_file_id="in"), "out", None)
    await store.batches.create(a_batch("next", input_file_id="out"), None, ())
    (found,) = (await using(store, "out")).values()
    assert [(use.batch_id, use.role) for use in found] == [
        ("batch_next", FileRole.INPUT),
        ("batch_first", FileRole.OUTPUT),
    ]


@with_store
async def test_unfinished_batches_come_first_and_then_the_newest(store: Store) -> None:
    for n in range(3):
        await finished(store, a_batch(f"done{n}", input_file_id="in", created_at=T0 + 10 + n))
    await planned(store, a_batch("old", input_file_id="in", created_at=T0))
    await store.batches.create(a_batch("new", input_file_id="in", created_at=T0 + 5), None, ())
    assert ids((await using(store, "in"))["in"]) == ["new", "old", "done2", "done1", "done0"]


@with_store
async def test_no_more_than_the_most_of_each_file_are_told(store: Store) -> None:
    for n in range(4):
        batch = a_batch(str(n), input_file_id="ab"[n % 2], created_at=T0 + n)
        await store.batches.create(batch, None, ())
    one, two, three = [await using(store, "a", "b", most=most) for most in (1, 2, 3)]
    assert (ids(one["a"]), ids(one["b"])) == (["2"], ["3"])
    assert (ids(two["a"]), ids(two["b"])) == (["2", "0"], ["3", "1"])
    assert three == two


@with_store
async def test_batches_of_others_are_not_told_of(store: Store) -> None:
    """Nor do they take the place of one's own, whatever file they name."""
    await store.batches.create(a_batch("mine", input_file_id="in"), None, ())
    for n in range(3):
        theirs = a_batch(f"theirs{n}", input_file_id="in", account="other", created_at=T0 + 9)
        await store.batches.create(theirs, None, ())
    assert ids((await using(store, "in", most=1))["in"]) == ["mine"]
    assert len((await using(store, "in", account="other"))["in"]) == 3
    assert await using(store, "in", account="third") == {}


@with_store
async def test_no_files_have_no_uses(store: Store) -> None:
    await store.batches.create(a_batch(), None, ())
    assert await using(store) == {}
    assert (await using(store, "file-batch-1"))["file-batch-1"][0].name is None
