"""Upstream URLs, and what is written into request heads."""

import pytest

from batchmill.domain.errors import ConfigError
from batchmill.upstream.http_address import Address, RequestHeads, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", Address("h", 80, False, "h", "")),
        ("http://h:80/", Address("h", 80, False, "h", "")),
        ("http://h:8000/v1", Address("h", 8000, False, "h:8000", "/v1")),
        ("https://h/v1//", Address("h", 443, True, "h", "/v1")),
        ("https://h:80/a/b/", Address("h", 80, True, "h:80", "/a/b")),
        ("http://[::1]:8000/v1", Address("::1", 8000, False, "[::1]:8000", "/v1")),
        ("http://[::1]/v1", Address("::1", 80, False, "[::1]", "/v1")),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://h/v1",
        "http://",
        "http:///v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://h/v1?key=1",
        "http://h/v1#part",
        "http://h/v 1",
        "http://h/v1\r\nX: y",
        "http://hé/v1",
        "http://a..b/v1",
        "http://[::1/v1",
        "",
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_url(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url("http://user:hunter2@h/v1")
    assert "hunter2" not in str(caught.value)


def test_a_key_that_breaks_the_head_is_refused_and_not_repeated() -> None:
    for key in ("sk-1\r\nX: y", "sk 1", "sk-é"):
        with pytest.raises(ConfigError) as caught:
            RequestHeads(parse_url("http://h/v1"), key)
        assert key not in str(caught.value)


@pytest.mark.parametrize("path", ["chat", "", "/a b", "/a\r\nX: y", "/é"])
def test_a_path_that_breaks_the_head_is_refused(path: str) -> None:
    heads = RequestHeads(parse_url("http://h/v1"), None)
    with pytest.raises(ValueError, match="path"):
        heads.post(path)
    with pytest.raises(ValueError, match="path"):
        heads.get(path)


def test_a_head_says_what_it_must() -> None:
    head = RequestHeads(parse_url("http://h:8000/v1/"), "sk-1").get("/models").decode()
    assert head.startswith("GET /v1/models HTTP/1.1\r\n")
    assert head.endswith("\r\n\r\n")
    for line in ("Host: h:8000", "Authorization: Bearer sk-1", "Accept-Encoding: identity"):
        assert f"\r\n{line}\r\n" in head


def test_no_key_means_no_authorization() -> None:
    assert "Authorization" not in RequestHeads(parse_url("http://h"), None).post("/x")
