"""The shapes of public identifiers, and that a line's is the same whenever it is asked for."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain import ids

ENTROPY = bytes(range(200, 232))


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (ids.input_file_id(ENTROPY), r"file-batch-[0-9a-f]{24}"),
        (ids.output_file_id(ENTROPY), r"file-batch_output-[0-9a-f]{24}"),
        (ids.upload_id(ENTROPY), r"upload_[0-9a-f]{32}"),
        (ids.part_id(ENTROPY), r"part_[0-9a-f]{32}"),
    ],
)
def test_each_id_has_its_shape(made: str, shape: str) -> None:
    assert re.fullmatch(shape, made)


@given(st.binary(min_size=16, max_size=40))
def test_a_batch_id_is_a_uuid4(entropy: bytes) -> None:
    prefix, _, rest = ids.batch_id(entropy).partition("_")
    assert prefix == "batch"
    assert str(UUID(rest)) == rest
    assert UUID(rest).version == 4


@given(st.text(max_size=60), st.integers(1, 60_000))
def test_a_line_id_is_a_uuid4_that_depends_on_batch_and_number_alone(batch: str, n: int) -> None:
    made = ids.line_id(batch, n)
    assert str(UUID(made)) == made
    assert UUID(made).version == 4
    assert ids.line_id(batch, n) == made
    assert ids.line_id(batch, n + 1) != made
    assert ids.line_id(batch + "x", n) != made


def test_the_lines_of_a_large_batch_all_have_ids_of_their_own() -> None:
    assert len({ids.line_id("batch_1", n) for n in range(50_000)}) == 50_000


def test_more_entropy_than_is_needed_changes_nothing() -> None:
    assert ids.input_file_id(ENTROPY) == ids.input_file_id(ENTROPY[:12])
    assert ids.batch_id(ENTROPY) == ids.batch_id(ENTROPY[:16])
