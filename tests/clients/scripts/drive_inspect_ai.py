"""inspect_ai: an evaluation whose model calls go through batches; prints what the log says."""

import json
import sys
from typing import Any

import inspect_ai  # type: ignore[import-not-found,unused-ignore]
from inspect_ai.dataset import Sample  # type: ignore[import-not-found,unused-ignore]
from inspect_ai.model import BatchConfig  # type: ignore[import-not-found,unused-ignore]
from inspect_ai.scorer import includes  # type: ignore[import-not-found,unused-ignore]

COUNT = 6


def evaluate(model: str, **model_args: Any) -> dict[str, Any]:
    """Every sample is answered with an echo, so that every sample is right."""
    samples = [Sample(input=f"word {at}", target=f"You said: word {at}") for at in range(COUNT)]
    (log,) = inspect_ai.eval(
        inspect_ai.Task(dataset=samples, scorer=includes()),
        model=model,
        model_args=model_args,
        batch=BatchConfig(size=COUNT, send_delay=60, tick=0.2),
        display="none",
        log_dir="logs",
    )
    return {
        "status": log.status,
        "error": str(log.error) if log.error else None,
        "answers": [one.output.completion for one in log.samples or []],
        "accuracy": log.results.scores[0].metrics["accuracy"].value if log.results else None,
        "tokens": sum(used.total_tokens for used in log.stats.model_usage.values()),
    }


if __name__ == "__main__":
    model, endpoint = sys.argv[1:]
    answers = evaluate(model, responses_api=endpoint == "responses")
    sys.stdout.write("\n" + json.dumps(answers))
