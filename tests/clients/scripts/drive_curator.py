"""bespokelabs-curator: prompts through a batch; prints what it made of the answers."""

import json
import sys
from typing import Any

from bespokelabs import curator  # type: ignore[import-not-found,unused-ignore]

COUNT = 5


def main(model: str) -> dict[str, Any]:
    poet = curator.LLM(
        model_name=model,
        backend="openai",
        batch=True,
        backend_params={"batch_check_interval": 1, "batch_size": 3},
    )
    made = poet([f"word {at}" for at in range(COUNT)])
    rows = getattr(made, "dataset", made)
    return {"rows": [dict(row) for row in rows]}


if __name__ == "__main__":
    answers = main(sys.argv[1])
    sys.stdout.write("\n" + json.dumps(answers))
