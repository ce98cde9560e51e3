"""The frames of `ncl`: one request, one answer, both JSON on one line. Who asks is never in the frame (I7)."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from attrs import frozen


class Code(str, Enum):
    """Why a request was not done. `ncl` exits with 2 where nobody could be asked, or not like this, and else with 1."""

    UNKNOWN_COMMAND = "unknown-command"
    INVALID_ARGS = "invalid-args"
    FORBIDDEN = "forbidden"
    APPROVAL_PENDING = "approval-pending"
    NOT_FOUND = "not-found"
    HANDLER_ERROR = "handler-error"
    TRANSPORT_ERROR = "transport-error"


@frozen(kw_only=True)
class Request:
    """What a client asks for.

    Args:
        id: Chosen by the client, repeated in the answer.
        words: The words of the command as typed, options left out: `["groups", "config", "get", "ag-…"]`.
        options: `--key value` pairs; a repeated key holds a list, a flag without value holds True.
    """

    id: str
    words: list[str]
    options: dict[str, Any]


@frozen(kw_only=True)
class Answer:
    """What comes back.

    Args:
        id: The request's, or `unknown` where it could not be read.
        ok: True with `data`; False with `code` and `message`.
        data: Any JSON value.
    """

    id: str
    ok: bool
    data: Any = None
    code: Code | None = None
    message: str | None = None

    def as_json_object(self) -> dict[str, Any]:
        """Return the wire form: `{id, ok, data}` or `{id, ok, error: {code, message}}`."""
        if self.ok:
            return {"id": self.id, "ok": True, "data": self.data}
        code = (self.code or Code.HANDLER_ERROR).value
        return {"id": self.id, "ok": False, "error": {"code": code, "message": self.message or ""}}

    def as_line(self) -> bytes:
        """Return the wire form as one line; data that is no JSON makes a handler error, so that there is an answer."""
        try:
            return json.dumps(self.as_json_object(), allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            why = f"what the verb returned is no JSON: {error}"
            return Answer(id=self.id, ok=False, code=Code.HANDLER_ERROR, message=why).as_line()


def read_request(raw: Any) -> Request:
    """Read a request from decoded JSON, from whatever transport.

    Raises:
        ValueError: It is none; the message says what it must have.
    """
    if not isinstance(raw, dict) or set(raw) != {"id", "words", "options"}:
        found = ", ".join(sorted(raw)) if isinstance(raw, dict) else type(raw).__name__
        raise ValueError(f"a request is an object with `id`, `words` and `options`, and nothing else; found {found}")
    words, options = raw["words"], raw["options"]
    if not isinstance(raw["id"], str) or not isinstance(words, list) or not isinstance(options, dict):
        raise ValueError("`id` is a text, `words` a list, and `options` an object")
    if not all(isinstance(word, str) for word in words):
        raise ValueError("`words` are texts")
    return Request(id=raw["id"], words=words, options=options)
