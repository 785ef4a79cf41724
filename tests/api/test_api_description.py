"""The description of the API: whole, and true."""

from pathlib import Path
from typing import Any

from api_house import as_object, open_house, run
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from batchmill.api.errors import KINDS
from batchmill.api.wire import SHAPES


def describe(tmp_path: Path) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with open_house(tmp_path) as house:
            return as_object(await house.client.get("/openapi.json"))

    return run(main())


def operations(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method} {path}": described
        for path, methods in spec["paths"].items()
        for method, described in methods.items()
    }


def test_every_operation_is_there_once_with_its_words(tmp_path: Path) -> None:
    found = operations(describe(tmp_path))
    assert set(found) == {
        "post /v1/files",
        "get /v1/files",
        "get /v1/files/{file_id}",
        "delete /v1/files/{file_id}",
        "get /v1/files/{file_id}/content",
        "head /v1/files/{file_id}/content",
        "post /v1/uploads",
        "post /v1/uploads/{upload_id}/parts",
        "post /v1/uploads/{upload_id}/complete",
        "post /v1/uploads/{upload_id}/cancel",
        "post /v1/batches",
        "get /v1/batches",
        "get /v1/batches/{batch_id}",
        "post /v1/batches/{batch_id}/cancel",
        "get /v1/batches/{batch_id}/results",
        "get /v1/usage",
        "get /v1/spending",
        "get /v1/monitoring",
        "get /v1/admin/caps",
        "post /v1/admin/caps",
        "delete /v1/admin/caps/{scope}/{scope_id}/{currency}",
        "post /v1/admin/accounts",
        "get /v1/admin/accounts",
        "post /v1/admin/workspaces",
        "get /v1/admin/workspaces",
        "post /v1/admin/keys",
        "get /v1/admin/keys",
        "get /v1/admin/keys/{key_id}",
        "post /v1/admin/keys/{key_id}/revoke",
        "get /v1/admin/audit",
        "post /v1/batches/estimate",
        "post /v1/webhook_endpoints",
        "get /v1/webhook_endpoints",
        "get /v1/webhook_endpoints/{webhook_endpoint_id}",
        "post /v1/webhook_endpoints/{webhook_endpoint_id}",
        "delete /v1/webhook_endpoints/{webhook_endpoint_id}",
        "post /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
        "post /v1/webhook_endpoints/{webhook_endpoint_id}/test",
        "get /v1/webhook_event_types",
        "get /v1/webhook_deliveries",
        "post /v1/webhook_deliveries/{delivery_id}/replay",
        "get /v1/models",
        "get /v1/models/{model_id}",
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "get /openapi.json",
    }
    for described in found.values():
        assert described["summary"]
        assert described["description"]
        assert described["tags"]
    ids = [described["operationId"] for described in found.values()]
    assert len(ids) == len(set(ids))


def test_every_answer_has_an_example_and_a_request_id(tmp_path: Path) -> None:
    for name, described in operations(describe(tmp_path)).items():
        for status, response in described["responses"].items():
            assert response["description"], name
            assert "x-request-id" in response["headers"], name
            if status != "304":
                for media in response["content"].values():
                    assert media["examples"], f"{name} {status}"
                    assert "schema" in media, f"{name} {status}"


def test_nothing_of_the_frameworks_is_described(tmp_path: Path) -> None:
    spec = describe(tmp_path)
    assert not {"HTTPValidationError", "ValidationError"} & set(spec["components"]["schemas"])
    for described in operations(spec).values():
        assert "422" not in described["responses"]
        assert {"403", "421", "500"} <= set(described["responses"])


def refusals(described: dict[str, Any], status: str) -> set[str]:
    """The codes of the errors that an operation shows for a status."""
    content = described["responses"].get(status, {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    return {example["value"]["error"]["code"] for example in examples.values()}


def test_a_door_that_asks_for_keys_is_described(tmp_path: Path) -> None:
    spec = describe(tmp_path)
    assert set(spec["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for name, described in operations(spec).items():
        is_open = name in {"get /healthz", "get /readyz", "get /openapi.json"}
        assert ("invalid_api_key" in refusals(described, "401")) is not is_open, name
        assert described["security"] == ([] if is_open else [{"bearer": []}, {"api_key": []}, {}])
        changes = name.split()[0] in {"post", "delete"} and "estimate" not in name
        if changes or "/admin/" in name:
            assert "permission_denied" in refusals(described, "403"), name


def test_every_json_example_fits_its_schema(tmp_path: Path) -> None:
    spec = describe(tmp_path)
    checked = 0
    for described in operations(spec).values():
        bodies = [described["requestBody"]] if "requestBody" in described else []
        for one in (*described["responses"].values(), *bodies):
            media = one.get("content", {}).get("application/json", {})
            if "$ref" not in media.get("schema", {}):
                continue
            schema = {**media["schema"], "components": spec["components"]}
            for example in media["examples"].values():
                Draft202012Validator(schema).validate(example["value"])
                checked += 1
    assert checked > 100


def test_every_reference_leads_somewhere(tmp_path: Path) -> None:
    spec = describe(tmp_path)
    named = {shape.__name__ for shape in SHAPES}
    assert named <= set(spec["components"]["schemas"])

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].rpartition("/")[2] in spec["components"]["schemas"]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(spec)


def test_error_examples_have_the_type_that_their_status_has(tmp_path: Path) -> None:
    types = {(416, "invalid_request_error"), (500, "server_error")} | {
        (kind.status, kind.type) for kind in KINDS.values()
    }
    for described in operations(describe(tmp_path)).values():
        for status, response in described["responses"].items():
            if int(status) >= 400:
                for example in response["content"]["application/json"]["examples"].values():
                    error = example["value"]["error"]
                    assert set(error) == {"message", "type", "param", "code"}
                    assert (int(status), error["type"]) in types


def test_query_parameters_are_described_with_their_ranges(tmp_path: Path) -> None:
    listed = operations(describe(tmp_path))["get /v1/batches"]["parameters"]
    found = {one["name"]: one["schema"] for one in listed}
    assert set(found) == {
        *("after", "limit", "ds_name", "input_file_ids", "status"),
        *("create_after", "create_before"),
    }
    assert (found["limit"]["minimum"], found["limit"]["maximum"]) == (1, 100)


def test_the_description_is_described_as_the_object_that_it_is(tmp_path: Path) -> None:
    found = operations(describe(tmp_path))["get /openapi.json"]
    assert found["responses"]["200"]["content"]["application/json"]["schema"] == {"type": "object"}
    text = operations(describe(tmp_path))["get /metrics"]["responses"]["200"]["content"]
    assert text["text/plain"]["schema"] == {"type": "string"}


def test_the_one_body_that_may_be_absent_is_described_so(tmp_path: Path) -> None:
    bodies = {
        name: described["requestBody"]["required"]
        for name, described in operations(describe(tmp_path)).items()
        if "requestBody" in described
    }
    rotation = "post /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret"
    assert [name for name, required in bodies.items() if not required] == [rotation]
