"""What a well-behaved server refuses: wrong keys, unknown models, malformed requests.

Pure checks of one request; none of this is a fault of the script.
"""

from dataclasses import dataclass

from batchmill.upstream.mock import answers
from batchmill.upstream.mock.script import Script


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in."""

    status: int
    message: str
    code: str | None = None

    def render(self) -> bytes:
        """The body of the answer."""
        return answers.error_body(self.message, code=self.code)


def check_key(script: Script, authorization: str | None) -> Refusal | None:
    """401 where the script wants a key and the request has another or none."""
    if script.require_key is None or authorization == f"Bearer {script.require_key}":
        return None
    return Refusal(401, "Incorrect API key provided.", "invalid_api_key")


def check_ask(script: Script, path: str, ask: answers.Ask | None) -> Refusal | None:
    """400 for what the endpoint cannot serve, 404 for a model that is not on the list."""
    if ask is None:
        return Refusal(400, "The body is no JSON object that fits this endpoint.")
    if ask.stream:
        return Refusal(400, "This server does not stream: leave stream out.")
    missing = answers.find_missing(path, ask)
    if missing is not None:
        return Refusal(400, f"The field {missing} is missing.", "missing_required_parameter")
    if script.models and ask.model not in script.models:
        return Refusal(404, "The model does not exist.", "model_not_found")
    return None
