"""An API process that is killed while a file comes in, where nothing of it is kept nearby."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from bucket_server import Place, new_place, unfinished_uploads
from crash_batch import Trial, read_all_files, upload, write_input
from crash_server import Server, serving
from crash_upstream import Upstream, upstream_running
from crash_waiting import wait_until
from postgres_server import database

pytestmark = pytest.mark.slow

BOUNDARY = "a-boundary-of-the-tests"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="half"\r\n\r\n'
).encode()
# More than the parts that a writer of the bucket keeps in memory: some of it is there already.
HALF_BYTES = 40 * 1024 * 1024


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running() as running:
        yield running


@pytest.fixture
def place() -> Place:
    return new_place()


@pytest.fixture
def server(
    upstream: Upstream, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    options = ",".join(f"{name}={value}" for name, value in place.options.items())
    with database() as url:
        monkeypatch.setenv("BATCHMILL_DATA__DATABASE_ENV", "MILL_DATABASE")
        monkeypatch.setenv("MILL_DATABASE", url)
        monkeypatch.setenv("BATCHMILL_DATA__BLOBS", place.url)
        monkeypatch.setenv("BATCHMILL_DATA__BLOB_OPTIONS", options)
        with serving(tmp_path, upstream.url, stop_grace=1) as running:
            yield running


def begin_upload(server: Server) -> socket.socket:
    """Send the first part of a large file, and no more."""
    url = server.client.base_url
    assert url.port is not None
    connection = socket.create_connection((url.host, url.port))
    fields = (
        f"POST {url.path}files HTTP/1.1",
        f"Host: {url.host}:{url.port}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {2 * HALF_BYTES}",
    )
    connection.sendall("\r\n".join((*fields, "", "")).encode() + HEAD)
    line = write_input("half", 1)
    connection.sendall(line * (HALF_BYTES // len(line)))
    return connection


def test_half_an_upload_is_no_file_and_the_upload_works_again(
    server: Server, upstream: Upstream, place: Place
) -> None:
    first = upload(server.client, "first", write_input("first", 3))
    with begin_upload(server):
        wait_until(lambda: unfinished_uploads(place) == 1, "a part is in the bucket", pause=0.05)
        killed = server.the("api").pid
        server.kill("api")
        wait_until(server.is_whole, "the API is back", pause=0.05)
        assert server.the("api").pid != killed
    wait_until(lambda: _answers(server), "the API answers", pause=0.05)
    assert list(read_all_files(server.client)) == ["first"]
    assert server.client.get(f"/files/{first}/content").content == write_input("first", 3)
    trial = Trial("half", 20, server, upstream)
    trial.submit()
    batch = trial.wait_for_end()
    good, bad = trial._read("output_file_id", batch), trial._read("error_file_id", batch)
    trial._check_ids(good, bad)
    trial._check_answers(good, bad)


def _answers(server: Server) -> bool:
    try:
        return server.client.get("/models").status_code == 200
    except httpx2.TransportError:
        return False
