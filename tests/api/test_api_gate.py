"""The gate: request ids, hosts, pages, unknown ways, and what nobody foresaw."""

from pathlib import Path
from typing import Any

import pytest
from api_house import fault, open_house, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.api.gate import Served
from batchmill.api.hosts import HostRule
from batchmill.domain.errors import StorageAway, StorageFull


def test_every_answer_has_a_request_id_that_was_made_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            seen = set()
            for path in (
                "/v1/files",
                "/v1/files/none",
                "/nowhere",
                "/healthz",
                "/v1/files?limit=x",
            ):
                answer = await house.client.get(path, headers={"x-request-id": "mine"})
                seen.add(answer.headers["x-request-id"])
            assert len(seen) == 5
            assert all(name.startswith("req_") and len(name) == 36 for name in seen)

    run(main())


@pytest.mark.parametrize(
    ("host", "permitted"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("localhost.", True),
        ("127.0.0.1:8080", True),
        ("127.9.8.7", True),
        ("[::1]", True),
        ("[::1]:8080", True),
        ("mill.example", True),
        ("mill.example:8080", True),
        ("evil.example", False),
        ("evil.mill.example", False),
        ("10.0.0.5:8080", False),
        ("0.0.0.0", False),
        ("localhost.evil.example", False),
        ("evil.example@localhost", False),
        ("127.0.0.1.evil.example", False),
        ("[::2]", False),
        ("[", False),
        ("", False),
    ],
)
def test_only_loopback_and_allowed_hosts_are_answered(
    tmp_path: Path, host: str, permitted: bool
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, allowed_hosts=("Mill.example",)) as house:
            answer = await house.client.get("/v1/files", headers={"host": host})
            assert answer.status_code == (200 if permitted else 421)
            if not permitted:
                assert fault(answer)["code"] == "host_not_allowed"
                assert answer.headers["x-request-id"]

    run(main())


def test_a_star_allows_every_host() -> None:
    assert HostRule(["*"]).permits("evil.example")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1:8080", 200),
        ("https://mill.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
    ],
)
def test_pages_of_other_sites_may_not_speak_to_it(tmp_path: Path, origin: str, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path, allowed_hosts=("mill.example",)) as house:
            answer = await house.client.get("/v1/files", headers={"origin": origin})
            assert answer.status_code == status
            if status == 403:
                assert fault(answer)["code"] == "origin_not_allowed"

    run(main())


def test_without_keys_authorization_means_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            for value in ("Bearer sk-1", "Basic x", "nonsense"):
                answer = await house.client.get(
                    f"/v1/files/{file['id']}", headers={"authorization": value}
                )
                assert answer.status_code == 200

    run(main())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/files",
        "/docs",
        "/redoc",
        "/v1/files/",
        "/v1/files/a/b",
    ],
)
def test_unknown_paths_are_not_found_in_the_envelope(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for method in ("GET", "POST"):
                answer = await house.client.request(method, path)
                assert answer.status_code == 404
                assert fault(answer) == {
                    "message": f"Invalid URL ({method} {path})",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "unknown_url",
                }

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "GET, HEAD, POST"),
        ("OPTIONS", "/compatible-mode/v1/files", "GET, HEAD, POST"),
        ("POST", "/v1/files/x", "GET, HEAD, DELETE"),
        ("POST", "/v1/files/x/content", "GET, HEAD"),
        ("GET", "/v1/batches/x/cancel", "POST"),
        ("DELETE", "/v1/batches/x", "GET, HEAD"),
        ("GET", "/v1/uploads", "POST"),
        ("PATCH", "/healthz", "GET, HEAD"),
        ("POST", "/v1/models/a/b", "GET, HEAD"),
    ],
)
def test_wrong_methods_name_the_right_ones(
    tmp_path: Path, method: str, path: str, allowed: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allowed
            assert fault(answer)["code"] == "method_not_supported"

    run(main())


def test_head_answers_what_get_would_without_its_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            batch = await house.create_batch()
            for path in (
                "/v1/files",
                f"/v1/files/{file['id']}",
                f"/v1/files/{file['id']}/content",
                "/v1/files/none",
                "/v1/batches",
                f"/v1/batches/{batch['id']}",
                f"/v1/batches/{batch['id']}/results",
                "/v1/models",
                "/nowhere",
                "/openapi.json",
            ):
                got, head = await house.client.get(path), await house.client.head(path)
                assert head.status_code == got.status_code
                assert head.content == b""
                assert head.headers.get("content-length") == got.headers.get("content-length") or (
                    head.status_code == 404
                )

    run(main())


def test_a_surprise_is_answered_plainly_and_logged_under_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:

            async def broken(*_: object) -> None:
                raise RuntimeError("a prompt that nobody may see")

            monkeypatch.setattr(house.store.files, "list", broken)
            answer = await house.client.get("/v1/files")
            assert answer.status_code == 500
            error = fault(answer)
            assert error["type"] == "server_error"
            assert answer.headers["x-request-id"] in error["message"]
            assert "prompt" not in answer.text
            assert [one["event"] for one in house.logged if one["log_level"] == "error"] == [
                "request_failed"
            ]

    run(main())


def test_a_database_that_is_away_says_when_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:

            async def away(*_: object) -> None:
                raise StorageAway("The database cannot be reached now; try again.")

            monkeypatch.setattr(house.store.files, "list", away)
            answer = await house.client.get("/v1/files")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "x-should-retry" not in answer.headers
            error = fault(answer)
            assert (error["type"], error["code"]) == ("server_error", None)
            assert error["message"] == "The database cannot be reached now; try again."

    run(main())


def test_a_full_disk_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:

            async def full(*_: object) -> None:
                raise StorageFull("The disk is full: nothing was stored.")

            monkeypatch.setattr(house.store.files, "add", full)
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("a", b"{}")}
            )
            assert answer.status_code == 507
            assert answer.headers["x-should-retry"] == "false"
            assert fault(answer)["type"] == "server_error"
            assert house.stored_bytes() == []

    run(main())


def test_served_requests_are_told_by_route_and_never_by_path(tmp_path: Path) -> None:
    async def main() -> None:
        served: list[Served] = []
        async with open_house(tmp_path, observe=served.append) as house:
            for path in ("/v1/files/secret-name", "/compatible-mode/v1/files", "/odd"):
                await house.client.get(path)
            assert [(one.method, one.route, one.status) for one in served] == [
                ("GET", "/files/{file_id}", 404),
                ("GET", "/files", 200),
                ("GET", "unknown", 404),
            ]
            assert all(one.seconds >= 0 for one in served)

    run(main())


PATHS = st.sampled_from(
    [
        *("/v1/files", "/v1/files/x", "/v1/files/x/content", "/v1/uploads", "/v1/uploads/x/parts"),
        *("/v1/uploads/x/complete", "/v1/batches", "/v1/batches/x", "/v1/batches/x/cancel"),
        *("/v1/batches/x/results", "/v1/models", "/v1/models/x", "/healthz", "/v1", "/v1/%2e%2e/x"),
    ]
)
NAMES = st.sampled_from(
    ["limit", "after", "order", "purpose", "status", "create_after", "input_file_ids", "ds_name"]
)
KINDS = st.sampled_from(
    ["application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=b", ""]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["input_file_id", "metadata", "endpoint", "part_ids", "bytes", "x"]),
            inner,
        )
    ),
    max_leaves=6,
)


BODIES: st.SearchStrategy[dict[str, Any]] = (
    st.binary(max_size=40).map(lambda data: {"content": data})
    | ANYTHING.map(lambda value: {"json": value})
    | ANYTHING.map(lambda value: {"json": {"input_file_id": "f", "metadata": value}})
    | st.just({})
)
REQUESTS = st.builds(
    lambda body, **rest: {**rest, **body},
    BODIES,
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH"]),
    url=PATHS,
    params=st.dictionaries(NAMES, st.text(max_size=8), max_size=3),
    headers=KINDS.map(lambda kind: {"content-type": kind}),
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_is_asked_the_answer_is_ours(tmp_path: Path, data: st.DataObject) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for _ in range(15):
                answer = await house.client.request(**data.draw(REQUESTS))
                assert answer.status_code < 500
                assert answer.headers["x-request-id"]
                if answer.status_code >= 400:
                    fault(answer)

    run(main())
