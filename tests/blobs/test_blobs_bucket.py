"""Opening a bucket: what the operator is told before anything is served."""

import asyncio
from collections.abc import Iterator

import pytest
from bucket_server import Place, new_place, server_url
from rough_road import Road, everything, open_road, writes

from batchmill.blobs.bucket import open_bucket
from batchmill.blobs.probe import check_bucket
from batchmill.domain.errors import ConfigError, StorageAway

PAUSE = "batchmill.blobs.probe._PAUSE"


@pytest.fixture
def road() -> Iterator[Road]:
    with open_road() as road:
        yield road


def check(place: Place, seconds: float = 15.0) -> None:
    asyncio.run(check_bucket(place.url, place.options, seconds))


def test_a_bucket_that_will_do_passes_and_nothing_is_left_in_it(road: Road) -> None:
    place = new_place(endpoint=road.url)
    check(place)
    assert [method for method, _ in road.seen].count("DELETE") + [
        method for method, path in road.seen if "delete" in path
    ].count("POST") == 1
    check(Place("memory://", {}))


def test_a_bucket_that_is_not_there_is_named() -> None:
    place = Place("s3://no-such-bucket/prefix", new_place().options)
    with pytest.raises(ConfigError, match=r"s3://no-such-bucket/prefix\) does not exist"):
        check(place)


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_are_said_to_be(road: Road, status: int) -> None:
    road.refuse(everything, status=status)
    with pytest.raises(ConfigError, match="credentials") as caught:
        check(new_place(endpoint=road.url))
    assert "test-secret" not in str(caught.value)


def test_a_bucket_that_does_not_say_what_is_missing_lacks_a_right(road: Road) -> None:
    road.refuse(lambda method, path: method == "HEAD", status=403)
    with pytest.raises(ConfigError, match="listed"):
        check(new_place(endpoint=road.url))


def test_a_bucket_that_overwrites_in_spite_of_all_is_refused(road: Road) -> None:
    """The journal could not shut out late writers there."""
    road.strip(writes, "if-none-match")
    with pytest.raises(ConfigError, match="If-None-Match"):
        check(new_place(endpoint=road.url))


def test_a_bucket_that_is_away_is_no_wrong_setting(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = road.refuse(everything)
    monkeypatch.setattr(PAUSE, 100.0)  # more than is left
    with pytest.raises(StorageAway, match="cannot be reached"):
        check(new_place(endpoint=road.url))
    assert rule.count == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_bucket_that_is_away_for_a_moment_is_asked_again(
    road: Road, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PAUSE, 0.0)
    rule = road.refuse(everything, times=3, status=status)
    check(new_place(endpoint=road.url))
    assert rule.count == 3


def test_a_request_that_the_bucket_does_not_like_is_not_repeated(road: Road) -> None:
    """Another region's bucket answers so, for one."""
    rule = road.refuse(everything, status=400)
    with pytest.raises(ConfigError, match=r"refuses what it is asked \(status 400\)"):
        check(new_place(endpoint=road.url))
    assert rule.count == 1


def test_a_bucket_of_another_region_is_said_to_be_one(road: Road) -> None:
    road.refuse(everything, status=301)
    with pytest.raises(ConfigError, match="another region"):
        check(new_place(endpoint=road.url))


def test_half_of_the_credentials_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="AccessKeyId") as caught:
        place.open()
    assert "test-secret" not in str(caught.value)


def test_a_bucket_that_never_answers_is_given_up(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.hold(everything)
    place = new_place(endpoint=road.url)
    with pytest.raises(StorageAway, match=r"does not answer within 0 s\.$"):
        check(place, 0.01)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", road.url)
    with pytest.raises(StorageAway, match="no AWS_ACCESS_KEY_ID"):
        check(place, 0.01)


@pytest.mark.parametrize("status", [403, 503])
def test_credentials_that_nobody_has_are_asked_for(
    road: Road, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are none, the library asks the cloud's machine for them."""
    place = new_place()
    road.refuse(everything, status=status)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", road.url)
    monkeypatch.setattr(PAUSE, 100.0)
    with pytest.raises(ConfigError, match="there are none in the environment"):
        check(place)


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("ftp://bucket", {}, "begin with s3://, gs:// or az://"),
        ("/some/folder", {}, "begin with s3://, gs:// or az://"),
        ("s3://", {}, "do not name a bucket"),
        ("s3://bucket", {"colour": "red"}, "colour"),
        ("s3://bucket", {"endpoint": "s3.example.com"}, "no address"),
        ("s3://bucket", {"aws_endpoint_url": "ftp://s3.example.com"}, "no address"),
        ("s3://bucket", {"endpoint": "http://10.0.0.9:9000"}, "read on the way"),
        ("s3://bucket", {"endpoint": "http://h", "allow_http": "no"}, "read on the way"),
        ("s3://bucket", {"timeout": "long"}, "long"),
    ],
)
def test_a_setting_that_names_no_bucket_is_refused_with_a_sentence(
    url: str, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        open_bucket(url, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/a/prefix", "gs://bucket", "memory://"])
def test_a_url_is_opened_without_a_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert "secret" not in repr(open_bucket(url, {}))


def test_plain_http_is_for_this_machine_unless_the_options_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``localhost`` needs no saying; any other host might be read on the way."""
    here = new_place()
    elsewhere = server_url().replace("127.0.0.1", "127.0.0.2")
    options = {**here.options, "endpoint": elsewhere}
    with pytest.raises(ConfigError, match="plain http"):
        open_bucket(here.url, options)
    monkeypatch.setattr(PAUSE, 100.0)
    with pytest.raises(StorageAway, match="cannot be reached"):  # nothing listens there
        check(Place(here.url, {**options, "allow_http": "true"}))
    monkeypatch.setenv("AWS_ENDPOINT_URL", elsewhere)
    with pytest.raises(ConfigError, match="reached without TLS"):
        check(Place(here.url, {"region": here.options["region"]}))
    check(here)
