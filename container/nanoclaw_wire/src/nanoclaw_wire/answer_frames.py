"""The wire form of answers. It imports nothing heavy, because `ncl` must start fast."""

from __future__ import annotations

from typing import Any

LOCAL_ID = "cli"
"""The request id of `ncl`, which sends one request per connection, and of its local commands."""


def data_frame(data: Any, request_id: str = LOCAL_ID) -> dict[str, Any]:
    """Return the frame of a successful request."""
    return {"id": request_id, "ok": True, "data": data}


def error_frame(code: str, message: str, request_id: str = LOCAL_ID) -> dict[str, Any]:
    """Return the frame of a failed request."""
    return {"id": request_id, "ok": False, "error": {"code": code, "message": message}}
