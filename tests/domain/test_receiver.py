"""Which URLs may be receivers, and which addresses are anybody's."""

from ipaddress import ip_address

import pytest

from batchmill.domain.receiver import MAX_URL_CHARS, find_url_fault, is_public


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"),
        *("198.18.0.1", "192.0.2.1", "240.0.0.1", "192.0.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "ff0e::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1"),
        *("2002:a9fe:a9fe::", "2001::1", "2001:db8::1", "3fff::1", "100::1"),
    ],
)
def test_addresses_that_only_some_can_reach_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a?b=c",
        "http://hooks.example.com",
        "https://hooks.example.com:8443/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:9000/x",
        "https://xn--bcher-kva.example/",
        "https://h.example/" + "x" * (MAX_URL_CHARS - 18),
    ],
)
def test_urls_of_receivers_are_taken(url: str) -> None:
    assert find_url_fault(url, allow_private=False) is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "http or https"),
        ("hooks.example.com", "http or https"),
        ("ftp://hooks.example.com/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("https://", "http or https"),
        ("https://[::1/", "http or https"),
        ("https://h.example:0/", "http or https"),
        ("https://h.example:65536/", "http or https"),
        ("https://me:secret@h.example/", "user name"),
        ("https://me@h.example/", "user name"),
        ("https://h.example/a b", "printable ASCII"),
        ("https://h.example/\r\nx: y", "printable ASCII"),
        ("https://bücher.example/", "printable ASCII"),
        ("https://h.example\\@evil.example/", "printable ASCII"),
        ("https://h.example/" + "x" * (MAX_URL_CHARS - 17), "at most"),
    ],
)
def test_other_urls_are_refused_in_words(url: str, told: str) -> None:
    for allow_private in (False, True):
        fault = find_url_fault(url, allow_private=allow_private)
        assert fault is not None
        assert told in fault
        assert "secret" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]:8080/",
        "http://169.254.169.254/latest",
        "http://localhost:9000/",
        "http://LOCALHOST./",
        "http://[fe80::1%25eth0]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_private_literals_are_refused_unless_they_are_allowed(url: str) -> None:
    assert "private" in (find_url_fault(url, allow_private=False) or "")
    assert find_url_fault(url, allow_private=True) is None
