"""Models, health, readiness and metrics."""

from pathlib import Path

import pytest
from api_house import NOON, as_object, fault, open_house, run
from openai.types import Model


def test_models_are_listed_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            models = as_object(await house.client.get("/v1/models"))
            assert models["object"] == "list"
            assert [one["id"] for one in models["data"]] == [
                "Qwen/Qwen3-8B",
                "batch-test-model",
                "qwen-plus",
            ]
            for one in models["data"]:
                Model.model_validate(one, strict=True)
                assert one["created"] == int(NOON)

    run(main())


@pytest.mark.parametrize("path", ["qwen-plus", "Qwen/Qwen3-8B", "Qwen%2FQwen3-8B"])
def test_a_model_is_found_by_its_name_slashes_and_all(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            model = as_object(await house.client.get(f"/v1/models/{path}"))
            assert model["id"] == path.replace("%2F", "/")

    run(main())


def test_an_unknown_model_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.get("/v1/models/gpt-0")
            assert answer.status_code == 404
            assert fault(answer) == {
                "message": "The model 'gpt-0' does not exist.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }

    run(main())


def test_readiness_needs_the_engine_and_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            assert (await house.client.get("/readyz")).status_code == 200
            house.engine[0] = False
            answer = await house.client.get("/readyz")
            assert answer.status_code == 503
            assert fault(answer)["message"] == "The engine does not answer."
            assert (await house.client.get("/healthz")).status_code == 200

    run(main())


def test_a_database_that_does_not_answer_makes_it_unready(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await house.store.close()
            (house.root / "house.db").unlink()
            (house.root / "house.db").mkdir()
            answer = await house.client.get("/readyz")
            assert answer.status_code == 503
            assert fault(answer)["message"] == "The database does not answer."

    run(main())


def test_metrics_are_what_they_are_told_to_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.get("/metrics")
            assert answer.text == "# TYPE a gauge\na 1\n"
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")

    run(main())
