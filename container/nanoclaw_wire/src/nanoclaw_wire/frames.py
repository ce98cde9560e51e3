"""The frames of `ncl`: one request and one answer, each a line of JSON. No frame names its sender (I7)."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from attrs import frozen

from nanoclaw_wire.answer_frames import data_frame, error_frame

MAX_WORDS = 100
MAX_WORD_CHARACTERS = 200  # of a word or the name of an option; long texts are values of options


class Code(str, Enum):
    """Error code of a failed request. `ncl` exits 2 for usage and transport errors, 1 for everything else."""

    UNKNOWN_COMMAND = "unknown-command"
    INVALID_ARGS = "invalid-args"
    FORBIDDEN = "forbidden"
    APPROVAL_PENDING = "approval-pending"
    NOT_FOUND = "not-found"
    HANDLER_ERROR = "handler-error"
    TRANSPORT_ERROR = "transport-error"


@frozen(kw_only=True)
class Request:
    """A client's request.

    Args:
        id: Chosen by the client and repeated in the answer.
        words: The words of the command as typed, without options: `["groups", "config", "get", "ag-…"]`.
        options: `--key value` pairs. A repeated key holds a list, a flag without a value holds True.
    """

    id: str
    words: list[str]
    options: dict[str, Any]


@frozen(kw_only=True)
class Answer:
    """The answer to a request.

    Args:
        id: The request's id, or `unknown` if the request could not be parsed.
        ok: True if the answer has `data`, False if it has `code` and `message`.
        data: Any JSON value.
        code: The error's code if `ok` is False. None counts as a handler error.
        message: The error's text if `ok` is False.
    """

    id: str
    ok: bool
    data: Any = None
    code: Code | None = None
    message: str | None = None

    def as_json_object(self) -> dict[str, Any]:
        """Return the wire form: `{id, ok, data}` or `{id, ok, error: {code, message}}`."""
        if self.ok:
            return data_frame(self.data, self.id)
        code = (self.code or Code.HANDLER_ERROR).value
        return error_frame(code, self.message or "", self.id)

    def as_line(self) -> bytes:
        """Return the wire form as one line.

        Data that is not JSON becomes a handler error, so the client always gets an answer.
        """
        try:
            return json.dumps(self.as_json_object(), allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"the verb returned data that is not JSON: {error}"
            return Answer(id=self.id, ok=False, code=Code.HANDLER_ERROR, message=reason).as_line()


def read_request(raw: Any) -> Request:
    """Parse a request from decoded JSON.

    Raises:
        ValueError: The value is not a request. The message names the fault.
    """
    if not isinstance(raw, dict) or set(raw) != {"id", "words", "options"}:
        got = ", ".join(sorted(raw))[:MAX_WORD_CHARACTERS] if isinstance(raw, dict) else type(raw).__name__
        raise ValueError(f"a request must be an object with exactly `id`, `words` and `options`, got {got}")
    words, options = raw["words"], raw["options"]
    if not isinstance(raw["id"], str) or not isinstance(words, list) or not isinstance(options, dict):
        raise ValueError("`id` must be a string, `words` a list and `options` an object")
    if len(words) > MAX_WORDS or len(options) > MAX_WORDS:
        raise ValueError(f"`words` and `options` must have at most {MAX_WORDS} items")
    if not all(isinstance(word, str) and len(word) <= MAX_WORD_CHARACTERS for word in (*words, *options)):
        raise ValueError(f"words and names of options must be strings of at most {MAX_WORD_CHARACTERS} characters")
    return Request(id=raw["id"], words=words, options=options)
