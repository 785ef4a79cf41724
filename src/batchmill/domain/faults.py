"""The faults that validation finds: one function per code, with its sentence.

Codes, sentences and params are the interface's own, and clients match on them.
A client's value that a sentence repeats goes through ``_shown``: no fault may
grow with the line that it is about, or carry bytes that a database refuses.
"""

from collections.abc import Iterable, Sequence

from batchmill.domain.batch import LineError

SHOWN_CHARS = 256


def _shown(text: str) -> str:
    """``text`` as a sentence may repeat it: short and printable."""
    clipped = text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
    if clipped.isprintable():
        return clipped
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in clipped)


def _name(param: str) -> str:
    """The parameter as the sentences call it: without the path to it."""
    return param.removeprefix("body.")


def line_too_long(line: int, max_bytes: int) -> LineError:
    """The line has more bytes than a line may have."""
    message = f"This line is larger than {max_bytes} bytes, the most that a line may have."
    return LineError("line_too_long", message, None, line)


def invalid_encoding(line: int) -> LineError:
    """The line is not UTF-8."""
    message = "This line is not valid UTF-8. Save the file in the encoding UTF-8."
    return LineError("invalid_encoding", message, None, line)


def invalid_json(line: int) -> LineError:
    """The line is not a JSON object that can be read."""
    return LineError("invalid_json_line", "This line is not parseable as valid JSON.", None, line)


def missing(line: int, param: str) -> LineError:
    """A required parameter is not there."""
    message = f"Missing required parameter: '{_name(param)}'."
    return LineError("missing_required_parameter", message, param, line)


def wrong_type(line: int, param: str, expected: str, got: str) -> LineError:
    """A parameter has another JSON type; ``expected`` and ``got`` carry their article."""
    message = f"Invalid type for '{_name(param)}': expected {expected}, but got {got} instead."
    return LineError("invalid_type", message, param, line)


def custom_id_too_long(line: int, max_chars: int) -> LineError:
    """The custom_id has more characters than it may have."""
    message = f"The custom_id for this request is longer than {max_chars} characters."
    return LineError("custom_id_too_long", message, "custom_id", line)


def custom_id_empty(line: int) -> LineError:
    """The custom_id has no characters."""
    message = (
        "Invalid value for 'custom_id': "
        "expected at least one character, but got an empty string instead."
    )
    return LineError("invalid_value", message, "custom_id", line)


def duplicate_custom_id(line: int, custom_id: str) -> LineError:
    """An earlier line has the same custom_id."""
    message = (
        f"The custom_id '{_shown(custom_id)}' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    return LineError("duplicate_custom_id", message, "custom_id", line)


def invalid_method(line: int, method: str) -> LineError:
    """The method is not POST."""
    message = f"Invalid value: '{_shown(method)}'. Supported values are: 'POST'."
    return LineError("invalid_method", message, "method", line)


def url_not_found(line: int, url: str) -> LineError:
    """No endpoint has this url."""
    message = f"The provided url '{_shown(url)}' is not supported by the Batch API."
    return LineError("url_not_found", message, "url", line)


def invalid_url(line: int) -> LineError:
    """The url is not that of the batch."""
    message = "The URL provided for this request does not match the batch endpoint."
    return LineError("invalid_url", message, "url", line)


def model_not_found(line: int, model: str) -> LineError:
    """The model is not served, or not on this endpoint."""
    message = f"The provided model '{_shown(model)}' is not supported by the Batch API."
    return LineError("model_not_found", message, "body.model", line)


def mismatched_test_url(line: int, url: str, model: str, *, is_test_model: bool) -> LineError:
    """The test model is asked elsewhere than on its endpoint, or another model is asked there."""
    kind = "test model" if is_test_model else "model"
    message = f"The provided URL '{_shown(url)}' does not match the {kind} '{_shown(model)}'."
    return LineError("mismatched_test_url", message, "url", line)


def mismatched_model(line: int, model: str) -> LineError:
    """An earlier line asks for another model."""
    message = (
        f"The model '{_shown(model)}' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    return LineError("mismatched_model", message, "body.model", line)


def mismatched_thinking_mode(line: int) -> LineError:
    """An earlier line has another ``enable_thinking``."""
    message = (
        "The parameter 'enable_thinking' for this request does not match the rest of the batch. "
        "Each batch must contain requests in a single thinking mode."
    )
    return LineError("mismatched_thinking_mode", message, "body.enable_thinking", line)


def streaming_unsupported(line: int, *, is_chat: bool) -> LineError:
    """The line asks for a stream, and the profile refuses that."""
    message = "Streaming is not supported in the Batch API."
    prefix = "Chat Completions: " if is_chat else ""
    return LineError("streaming_unsupported", prefix + message, "body.stream", line)


def empty_file() -> LineError:
    """The file holds no request."""
    message = "The input file is empty. Please ensure that the batch contains at least one request."
    return LineError("empty_file", message)


def file_too_large(max_bytes: int) -> LineError:
    """The file has more bytes than it may have."""
    message = (
        f"The input file is larger than {max_bytes} bytes, the most that a file may have. "
        "Split it into several files."
    )
    return LineError("file_too_large", message)


def too_many_requests(max_lines: int) -> LineError:
    """The file has more requests than it may have."""
    message = (
        f"The input file has more than {max_lines} requests, the most that a file may have. "
        "Split it into several files."
    )
    return LineError("too_many_requests_in_file", message)


def too_many_inputs(max_inputs: int) -> LineError:
    """The requests of the file ask for more embeddings than they may together."""
    message = (
        f"The requests of the input file have more than {max_inputs} embedding inputs together. "
        "Split it into several files."
    )
    return LineError("too_many_embedding_inputs", message)


def too_many_errors(left_out: int) -> LineError:
    """More lines are bad than are listed."""
    subject = "1 more line has an error" if left_out == 1 else f"{left_out} more lines have errors"
    return LineError("too_many_errors", f"{subject} that this list leaves out.")


def mismatched_currency(currencies: Sequence[str]) -> LineError:
    """The models of the file are priced in different currencies."""
    message = (
        f"The models of this file are priced in different currencies "
        f"({', '.join(currencies)}): make a batch for each."
    )
    return LineError("mismatched_currency", message, "body.model")


def model_not_priced(model: str) -> LineError:
    """The batch has a budget, but nothing says what the model costs."""
    message = (
        f"The batch has a budget, but the model '{_shown(model)}' has no price: "
        "create it without a budget, or have the operator add a price."
    )
    return LineError("model_not_priced", message, "body.model")


def price_faults(
    currencies: Iterable[str], unpriced: Sequence[str], *, has_budget: bool
) -> tuple[LineError, ...]:
    """Why a file whose lines are good cannot be charged as it is asked for."""
    differing = sorted(set(currencies))
    if len(differing) > 1:
        return (mismatched_currency(differing),)
    if has_budget and unpriced:
        return (model_not_priced(unpriced[0]),)
    return ()
