"""The pictures of the README can be taken anew."""

import struct
from pathlib import Path

import pytest
from browser_screenshots import PICTURES, main

pytestmark = pytest.mark.slow

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 200_000


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_every_page_is_taken(tmp_path: Path) -> None:
    main(tmp_path)
    taken = sorted(tmp_path.glob("*.png"))
    assert sorted(one.stem for one in taken) == sorted(name for name, _, _ in PICTURES)
    for one in taken:
        assert size_of(one) == (1280, 800)
        assert 10_000 < one.stat().st_size < MOST_BYTES, one


def test_the_pictures_that_are_shown_are_those_that_are_taken() -> None:
    shown = sorted(one.stem for one in IMAGES.glob("*.png"))
    assert shown == sorted(name for name, _, _ in PICTURES)
    for one in IMAGES.glob("*.png"):
        assert one.stat().st_size < MOST_BYTES
