"""Keys: how they are made of randomness, known by their beginning, and compared."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.account import (
    KEY_ENTROPY,
    KEY_MARK,
    Key,
    Role,
    digest_of,
    make_secret,
    prefix_of,
)

ENTROPY = st.binary(min_size=KEY_ENTROPY, max_size=KEY_ENTROPY)


def a_key(secret: str) -> Key:
    return Key(
        id="key_1",
        account="default",
        workspace="ws_default",
        name="k",
        role=Role.MEMBER,
        prefix=prefix_of(secret) or "",
        digest=digest_of(secret),
        created_at=0.0,
    )


@given(ENTROPY)
def test_a_key_has_a_public_beginning_and_matches_itself(entropy: bytes) -> None:
    secret = make_secret(entropy)
    prefix = prefix_of(secret)
    assert prefix is not None
    assert prefix.startswith(KEY_MARK)
    assert secret.startswith(f"{prefix}-")
    assert secret.isascii()
    assert " " not in secret
    assert a_key(secret).matches(secret)


@given(ENTROPY, ENTROPY)
def test_only_the_same_randomness_makes_the_same_key(one: bytes, other: bytes) -> None:
    assert (make_secret(one) == make_secret(other)) == (one == other)
    assert a_key(make_secret(one)).matches(make_secret(other)) == (one == other)


@given(ENTROPY)
def test_the_public_beginning_says_nothing_of_the_rest(entropy: bytes) -> None:
    rest = make_secret(bytes(KEY_ENTROPY - len(entropy[6:])) + entropy[6:])
    assert prefix_of(rest) == prefix_of(make_secret(bytes(KEY_ENTROPY)))


@given(ENTROPY, st.integers(0, KEY_ENTROPY * 2))
def test_a_piece_of_a_key_opens_nothing(entropy: bytes, cut: int) -> None:
    secret = make_secret(entropy)
    for piece in (secret[: min(cut, len(secret) - 1)], secret + "A", secret[1:], ""):
        assert not a_key(secret).matches(piece)


@given(st.text())
def test_whatever_is_sent_has_a_prefix_or_none(text: str) -> None:
    prefix = prefix_of(text)
    assert prefix is None or text.startswith(f"{prefix}-")
    assert not a_key(make_secret(bytes(KEY_ENTROPY))).matches(text)


@pytest.mark.parametrize("text", ["", "sk-1", "sk-bm-", "sk-bm-AAAAAAAA", "SK-BM-AAAAAAAA-B"])
def test_what_is_no_key_of_ours_has_no_prefix(text: str) -> None:
    assert prefix_of(text) is None


def test_what_is_kept_is_the_digest_of_the_whole_key() -> None:
    secret = make_secret(bytes(range(KEY_ENTROPY)))
    assert digest_of(secret) == sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "now", "is_usable"),
    [
        (None, None, 10.0, True),
        (10.0, None, 9.999, True),
        (10.0, None, 10.0, False),
        (None, 5.0, 1.0, False),
        (10.0, 5.0, 1.0, False),
    ],
)
def test_a_key_is_usable_until_its_end_and_never_once_revoked(
    *, expires_at: float | None, revoked_at: float | None, now: float, is_usable: bool
) -> None:
    key = replace(a_key("x"), expires_at=expires_at, revoked_at=revoked_at)
    assert key.is_usable(now) is is_usable
