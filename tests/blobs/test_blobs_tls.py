"""A bucket behind HTTPS whose certificate an authority of one's own has signed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blob_cases import fetch, put
from bucket_server import Place, new_place
from certificates import EARLY, EXPIRED, Authority, Pair
from rough_road import Road, open_road

from batchmill.blobs.bucket import open_bucket
from batchmill.blobs.probe import check_bucket
from batchmill.blobs.remote import RemoteBlobs
from batchmill.domain.errors import ConfigError

OPTION = "root_certificate"
# More than a part of an upload, and many chunks of a download.
LARGE = 9 * 1024 * 1024


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def road(authority: Authority) -> Iterator[Road]:
    """The server's certificate is as it should be."""
    with open_road(authority.sign().serve()) as opened:
        yield opened


def trusting(place: Place, authority: str) -> Place:
    return Place(place.url, {**place.options, OPTION: authority})


def check(place: Place) -> None:
    asyncio.run(check_bucket(place.url, place.options))


def test_a_bucket_that_the_own_authority_vouches_for_is_served_over_tls(
    road: Road, authority: Authority
) -> None:
    assert road.url.startswith("https://")
    place = trusting(new_place(endpoint=road.url), str(authority.path))
    data = os.urandom(1024) * (LARGE // 1024)

    async def main() -> None:
        await check_bucket(place.url, place.options)
        blobs = RemoteBlobs(place.open())
        await put(blobs, "files/1", [data])
        assert await fetch(blobs, "files/1") == data
        assert await fetch(blobs, "files/1", 5, LARGE - 5) == data[5 : LARGE - 5]
        await blobs.delete("files/1")

    asyncio.run(main())


def test_the_setting_may_hold_the_certificate_itself(road: Road, authority: Authority) -> None:
    """So it travels to machines that do not have the file; and a name is as good as an address."""
    endpoint = road.url.replace("127.0.0.1", "localhost")
    check(trusting(new_place(endpoint=endpoint), authority.path.read_text()))


def test_several_authorities_may_stand_in_one_file(
    road: Road, authority: Authority, tmp_path: Path
) -> None:
    """With remarks between them, in any letters, as the files of distributions have them."""
    bundle = tmp_path / "bundle.pem"
    other = Authority(tmp_path).path.read_text()
    bundle.write_text(f"# Autorité é\n{other}# ours\n{authority.path.read_text()}")
    check(trusting(new_place(endpoint=road.url), str(bundle)))


Signed = Callable[[Authority], Pair]

REFUSED: dict[str, tuple[Signed, str]] = {
    "another name": (lambda by: by.sign(["s3.example.com"], name="named"), "of another host"),
    "expired": (lambda by: by.sign(valid=EXPIRED, name="old"), "that has expired"),
    "not yet valid": (lambda by: by.sign(valid=EARLY, name="new"), "not valid yet"),
    "an authority's own": (lambda by: by.own, "is an authority's"),
}


@contextmanager
def refused(place: Place, sentence: str) -> Iterator[None]:
    with pytest.raises(ConfigError, match=sentence) as caught:
        yield
    told = str(caught.value)
    assert place.url in told
    assert "\n" not in told
    assert "test-secret" not in told


@pytest.mark.parametrize("fault", sorted(REFUSED))
def test_a_certificate_that_is_not_right_is_refused_at_once(
    authority: Authority, fault: str
) -> None:
    signed, sentence = REFUSED[fault]
    with open_road(signed(authority).serve()) as wrong:
        place = trusting(new_place(endpoint=wrong.url), str(authority.path))
        with refused(place, sentence):
            check(place)
        assert not wrong.seen, "nothing was said to it"


def test_an_authority_that_nobody_named_is_refused(road: Road, tmp_path: Path) -> None:
    place = new_place(endpoint=road.url)
    sentence = r"name your own in data\.blob_options\.root_certificate"
    for other in (place, trusting(place, str(Authority(tmp_path).path))):
        with refused(place, sentence):
            check(other)


def test_a_server_without_tls_is_refused_where_it_was_asked_for() -> None:
    with open_road() as plain:
        place = new_place(endpoint=plain.url.replace("http://", "https://"))
        with refused(place, "does not speak TLS"):
            check(place)


def broken(value: str) -> str:
    with pytest.raises(ConfigError) as caught:
        open_bucket("s3://bucket", {OPTION: value})
    return str(caught.value)


def test_what_is_no_certificate_is_refused_before_anything_is_sent(
    authority: Authority, tmp_path: Path
) -> None:
    key = authority.own.key.read_text()
    garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "empty.pem").touch()
    for value in (key, garbled, str(tmp_path / "empty.pem"), str(authority.own.key)):
        assert broken(value).endswith("root_certificate holds no certificate in PEM form.")
    assert broken(str(tmp_path / "none.pem")).endswith("No such file or directory.")
    assert broken(str(tmp_path)).endswith("Is a directory.")
    for value in ("", "ca.pem", "/a\0b"):
        assert "the whole path of a file" in broken(value)


def serve(place: Place, folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """What ``batchmill serve`` says, where it does not come to serving."""
    options = ",".join(f"{name}={value}" for name, value in place.options.items())
    where = {"BATCHMILL_DATA__BLOBS": place.url, "BATCHMILL_DATA__BLOB_OPTIONS": options, **more}
    return subprocess.run(
        [sys.executable, "-m", "batchmill", "serve", "--port", "0", "--data-dir", str(folder)],
        env={**os.environ, **where},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_server_does_not_start_over_a_bucket_that_is_not_trusted(
    road: Road, tmp_path: Path
) -> None:
    place = new_place(endpoint=road.url)
    said = serve(place, tmp_path)
    assert said.returncode != 0
    [line] = said.stderr.splitlines()
    assert line == (
        f"batchmill: The bucket of data.blobs ({place.url}) has a certificate which no authority "
        "that is known here vouches for: name your own in data.blob_options.root_certificate."
    )
    assert not said.stdout


TRUSTED = """
import asyncio, sys
from batchmill.blobs.probe import check_bucket
url, *options = sys.argv[1:]
asyncio.run(check_bucket(url, dict(option.split("=", 1) for option in options)))
"""


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_authorities_of_the_machine_are_trusted(
    road: Road, authority: Authority, tmp_path: Path, variable: str
) -> None:
    """Where those are is for the environment to say, once for a process."""
    place = new_place(endpoint=road.url)
    options = [f"{name}={value}" for name, value in place.options.items()]
    if variable == "SSL_CERT_DIR":
        (tmp_path / "ours.pem").write_bytes(authority.path.read_bytes())
    named = tmp_path if variable == "SSL_CERT_DIR" else authority.path
    said = subprocess.run(
        [sys.executable, "-c", TRUSTED, place.url, *options],
        env={**os.environ, variable: str(named)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
