"""Plausible answers of every endpoint.

Pure: the same request gets the same text and the same token counts. Shapes
follow the official client's models, all required fields included.
"""

import base64
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

Json = dict[str, Any]

ECHO_CHARS = 200
DEFAULT_DIMENSIONS = 16
MAX_DIMENSIONS = 4096
BYTES_PER_TOKEN = 4
# What a server is to be asked for that takes any name.
ANY_MODEL = "mock"


class Message(msgspec.Struct):
    """One turn of a conversation, as far as it is looked at."""

    role: str = ""
    content: Any = None


class Ask(msgspec.Struct):
    """What is read of a request's body, whatever its endpoint."""

    model: str = ""
    stream: bool | None = None
    messages: list[Message] | None = None
    prompt: Any = None
    input: Any = None
    dimensions: int | None = None
    encoding_format: str | None = None
    query: Any = None
    documents: list[Any] | None = None
    text_1: Any = None
    text_2: Any = None
    content: Any = None


_decode = msgspec.json.Decoder(Ask).decode
_encode = msgspec.json.Encoder().encode


def read_ask(body: bytes) -> Ask | None:
    """The request, or None where the body is no JSON object of the right kinds."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def find_missing(path: str, ask: Ask) -> str | None:
    """The first field that the endpoint needs and the request lacks, or None."""
    for name in ENDPOINTS[path].required:
        if getattr(ask, name) in (None, ""):
            return name
    return None


def count_tokens(data: bytes) -> int:
    """The tokens that bytes are billed as: a quarter of their number, rounded up."""
    return -(-len(data) // BYTES_PER_TOKEN)


def count_words(ask: Ask) -> int:
    """The tokens that ``/tokenize`` finds: a word of text is one, in whatever field it stands."""
    said = (*(turn.content for turn in ask.messages or ()), ask.prompt, ask.input, ask.content)
    return sum(len(_flatten(text).split()) for text in said)


def error_body(message: str, *, code: str | None, kind: str = "invalid_request_error") -> bytes:
    """An error in OpenAI's envelope."""
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def models_body(models: tuple[str, ...], created: int) -> bytes:
    """The answer to ``GET /v1/models``: one stands for any where none is named."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "mock-upstream"}
        for name in models or (ANY_MODEL,)
    ]
    return _encode({"object": "list", "data": data})


class Asked(msgspec.Struct):
    """A request with what its answer is made from: ``tag`` is unique to its bytes."""

    ask: Ask
    tag: str
    created: int
    input_tokens: int


def answer(path: str, ask: Ask, body: bytes, created: int) -> bytes:
    """The endpoint's answer; raises KeyError for a path that is not in ``ENDPOINTS``."""
    tag = blake2b(body, digest_size=12).hexdigest()
    return _encode(ENDPOINTS[path].compose(Asked(ask, tag, created, count_tokens(body))))


def echo(ask: Ask) -> str:
    """The text of an answer: the last thing that the user said, cut short."""
    turns = [turn for turn in ask.messages or () if turn.role == "user"]
    said = turns[-1].content if turns else ask.prompt or ask.input
    text = _flatten(said)[:ECHO_CHARS]
    return f"You said: {text}" if text else "You said nothing."


def _flatten(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(filter(None, map(_flatten, value)))
    if isinstance(value, dict):
        return _flatten(value.get("text") or value.get("content"))
    return ""


def _usage(asked: Asked, text: str) -> Json:
    output = count_tokens(text.encode())
    return {
        "prompt_tokens": asked.input_tokens,
        "completion_tokens": output,
        "total_tokens": asked.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _input_usage(asked: Asked) -> Json:
    return {"prompt_tokens": asked.input_tokens, "total_tokens": asked.input_tokens}


def _chat(asked: Asked) -> Json:
    text = echo(asked.ask)
    return {
        "id": f"chatcmpl-{asked.tag}",
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.ask.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(asked, text),
    }


def _completion(asked: Asked) -> Json:
    text = echo(asked.ask)
    return {
        "id": f"cmpl-{asked.tag}",
        "object": "text_completion",
        "created": asked.created,
        "model": asked.ask.model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(asked, text),
    }


def _embeddings(asked: Asked) -> Json:
    ask = asked.ask
    size = min(max(ask.dimensions or DEFAULT_DIMENSIONS, 1), MAX_DIMENSIONS)
    vectors = [_vector(msgspec.json.encode(item), size) for item in _items(ask.input)]
    packed = ask.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": at, "embedding": _pack(vector) if packed else vector}
        for at, vector in enumerate(vectors)
    ]
    return {
        "id": f"embd-{asked.tag}",
        "object": "list",
        "data": data,
        "model": ask.model,
        "usage": _input_usage(asked),
    }


def _items(value: Any) -> list[Any]:
    is_tokens = isinstance(value, list) and bool(value) and isinstance(value[0], int)
    return value if isinstance(value, list) and not is_tokens else [value]


def _vector(item: bytes, size: int) -> list[float]:
    digest = blake2b(item).digest()
    return [digest[at % len(digest)] / 255 - 0.5 for at in range(size)]


def _pack(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _response(asked: Asked) -> Json:
    text = echo(asked.ask)
    output = count_tokens(text.encode())
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_{asked.tag}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    return {
        "id": f"resp_{asked.tag}",
        "object": "response",
        "created_at": asked.created,
        "status": "completed",
        "model": asked.ask.model,
        "output": [message],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": asked.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked.input_tokens + output,
        },
    }


MODERATION_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def _moderation(asked: Asked) -> Json:
    harmless = {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": dict.fromkeys(MODERATION_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in MODERATION_CATEGORIES},
    }
    results = [harmless for _ in _items(asked.ask.input)]
    return {"id": f"modr-{asked.tag}", "model": asked.ask.model, "results": results}


def _rerank(asked: Asked) -> Json:
    documents = asked.ask.documents or []
    scores = [_similarity(asked.ask.query, document) for document in documents]
    ranked = sorted(range(len(documents)), key=lambda at: -scores[at])
    results = [
        {
            "index": at,
            "document": {"text": _flatten(documents[at])},
            "relevance_score": scores[at],
        }
        for at in ranked
    ]
    return {
        "id": f"rerank-{asked.tag}",
        "model": asked.ask.model,
        "results": results,
        "usage": {"total_tokens": asked.input_tokens},
    }


def _score(asked: Asked) -> Json:
    left, right = _items(asked.ask.text_1), _items(asked.ask.text_2)
    pairs = (
        [(left[0], other) for other in right]
        if len(left) == 1
        else list(zip(left, right, strict=False))
    )
    data = [
        {"index": at, "object": "score", "score": _similarity(*pair)}
        for at, pair in enumerate(pairs)
    ]
    return {
        "id": f"score-{asked.tag}",
        "object": "list",
        "created": asked.created,
        "model": asked.ask.model,
        "data": data,
        "usage": {**_input_usage(asked), "completion_tokens": 0},
    }


def _similarity(left: Any, right: Any) -> float:
    """The share of words that two texts have in common."""
    first, second = (set(_flatten(text).lower().split()) for text in (left, right))
    union = first | second
    return round(len(first & second) / len(union), 4) if union else 0.0


class Endpoint(NamedTuple):
    """How an endpoint answers, and the fields that it cannot do without."""

    compose: Callable[[Asked], Json]
    required: tuple[str, ...]


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(_chat, ("model", "messages")),
    "/v1/completions": Endpoint(_completion, ("model", "prompt")),
    "/v1/embeddings": Endpoint(_embeddings, ("model", "input")),
    "/v1/responses": Endpoint(_response, ("model", "input")),
    "/v1/moderations": Endpoint(_moderation, ("input",)),
    "/v1/rerank": Endpoint(_rerank, ("model", "query", "documents")),
    "/v1/score": Endpoint(_score, ("model", "text_1", "text_2")),
}
