"""Retry-After in its forms, and packed bodies."""

import gzip

import pytest

from batchmill.upstream.http_fields import (
    MAX_GZIP_MEMBERS,
    Oversized,
    Unreadable,
    read_retry_after,
    unpack,
)

NOON = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b" 0.25 "}, 0.25),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after-ms": b"1500"}, 1.5),
        ({b"retry-after-ms": b"1500", b"retry-after": b"9"}, 1.5),
        ({b"retry-after-ms": b"soon", b"retry-after": b"9"}, 9.0),
        ({b"retry-after": b"Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({b"retry-after": b"Sunday, 06-Nov-94 08:50:37 GMT"}, 60.0),
        ({b"retry-after": b"Sun Nov  6 08:50:37 1994"}, 60.0),
        ({b"retry-after": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 0.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"-1"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"\xff\xfe"}, None),
        ({b"retry-after": b"Sun, 06 Nov 99999 08:50:37 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    fields: dict[bytes, bytes], seconds: float | None
) -> None:
    assert read_retry_after(fields, NOON) == seconds


def test_a_gzip_body_may_have_several_members_but_not_any_number() -> None:
    member = gzip.compress(b"ab")
    assert unpack(member * MAX_GZIP_MEMBERS, b"gzip", 100) == b"ab" * MAX_GZIP_MEMBERS
    with pytest.raises(Unreadable):
        unpack(member * (MAX_GZIP_MEMBERS + 1), b"gzip", 100)


def test_the_cap_counts_all_members() -> None:
    member = gzip.compress(b"ab")
    assert unpack(member * 2, b"x-gzip", 4) == b"abab"
    with pytest.raises(Oversized):
        unpack(member * 2, b"gzip", 3)


def test_a_bomb_is_stopped_at_the_cap() -> None:
    with pytest.raises(Oversized):
        unpack(gzip.compress(bytes(50_000_000)), b"gzip", 1000)


def test_junk_behind_a_member_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        unpack(gzip.compress(b"ab") + b"junk", b"gzip", 100)


def test_an_empty_or_unpacked_body_stays_as_it_is() -> None:
    assert unpack(b"", b"gzip", 100) == b""
    assert unpack(b"ab", b" Identity ", 100) == b"ab"
