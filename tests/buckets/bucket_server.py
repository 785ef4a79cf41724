"""An S3 server for tests: moto's, once in a process, with a bucket of its own for each that asks.

Its credentials are put into the environment, from where the product and the
processes that tests start take them.
"""

import atexit
import logging
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from urllib.parse import urlsplit

from moto.server import ThreadedMotoServer
from obstore.store import ObjectStore

from batchmill.blobs.bucket import Patience, open_bucket

REGION = "us-east-1"
# Tests that mean a fault want it told soon; one more try still hides a single one.
SOON = Patience(retries=1, seconds=30.0, first_pause=0.001)

_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A bucket that exists: what ``data.blobs`` and ``data.blob_options`` are set to."""

    url: str
    options: Mapping[str, str]

    def open(self, patience: Patience = SOON) -> ObjectStore:
        return open_bucket(self.url, self.options, patience)


@cache
def server_url() -> str:
    """Where the server of this process listens; it is started by the first who asks."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    atexit.register(server.stop)
    os.environ["AWS_ACCESS_KEY_ID"] = "test"
    os.environ["AWS_SECRET_ACCESS_KEY"] = "test-secret"
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def new_place(prefix: str = "some/prefix", endpoint: str | None = None) -> Place:
    """A fresh, empty bucket; ``endpoint`` is where it is looked for, if not at the server."""
    name = f"bucket-{os.getpid()}-{next(_numbers)}"
    ask("PUT", f"/{name}")
    return Place(f"s3://{name}/{prefix}", {"endpoint": endpoint or server_url(), "region": REGION})


def unfinished_uploads(place: Place) -> int:
    """How many multipart uploads were begun and neither completed nor aborted."""
    return ask("GET", f"/{urlsplit(place.url).netloc}?uploads").count(b"<UploadId>")


def ask(method: str, path: str) -> bytes:
    """What the server answers to a plain request."""
    request = urllib.request.Request(server_url() + path, method=method)
    with urllib.request.urlopen(request) as answer:
        data: bytes = answer.read()
    return data
