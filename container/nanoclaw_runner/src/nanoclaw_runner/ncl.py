"""Serves `ncl` in the sandbox: the program asks at a private socket, and the runner asks the host.

The runner stays the only writer of outbound.db (I1). Each request becomes one action row, which is written once, even
if the program is killed. An answer that arrives after its program ended is acknowledged unread (⚠28).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import nanoclaw_client
import nanoclaw_wire
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.frame_server import FrameServer, Progress, bad_frame
from nanoclaw_wire.frames import Answer, Code, Request
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE

from nanoclaw_runner.provider import ToolError, ToolHost
from nanoclaw_runner.shortage import Shortage

log = logging.getLogger(__name__)

ACTION = "ncl"
MAX_REQUESTS = 32  # at a time; the inbox keeps 64 answers, and the model's tools need some of them
IDLE_S = 60.0
_NO_ANSWER = (
    "the host did not answer within {:g} s and may still execute the request. Check whether it did before you repeat"
    " the request."
)


class Relay:
    """Forwards requests of `ncl` to the host, and its answers back.

    Args:
        answer_s: The timeout for the host's answer, in seconds.
        shortage: Ends the runner if a request meets an exhausted machine.
    """

    def __init__(self, host: ToolHost, answer_s: float, shortage: Shortage) -> None:
        self._host, self._answer_s, self._shortage = host, answer_s, shortage
        self._open_requests = 0

    async def answer(self, request: Request, _progress: Progress) -> bytes:
        """Return the line that answers a request; never raises."""
        try:
            json.dumps([*request.words, request.options], ensure_ascii=False).encode()
        except (UnicodeError, RecursionError):
            return bad_frame("`words` and `options` must be UTF-8 and not nested too deeply")
        if self._open_requests >= MAX_REQUESTS:
            message = f"{MAX_REQUESTS} requests are open. Wait for an answer, then retry."
            return _as_line(_refusal(request.id, message))
        self._open_requests += 1
        try:
            return _as_line(await self._ask(request))
        except Exception as error:  # usually outbound.db cannot be written, which also ends the turn
            if is_exhausted(error):
                self._shortage.report(error)
            log.exception("request of ncl not forwarded")
            message = f"the request could not be forwarded: {type(error).__name__}: {error}"
            return _as_line(_refusal(request.id, message))
        finally:
            self._open_requests -= 1

    async def _ask(self, request: Request) -> dict[str, Any]:
        try:
            request_id = await self._host.request(ACTION, {"words": request.words, "options": request.options})
        except ToolError as error:
            return _refusal(request.id, str(error))
        try:
            answer = await self._host.answer(request_id, self._answer_s)
        except ToolError:
            return _refusal(request.id, _NO_ANSWER.format(self._answer_s))
        return frame_of(answer, request.id)


@contextlib.asynccontextmanager
async def offer_ncl(
    host: ToolHost, environment: Mapping[str, str], *, answer_s: float, shortage: Shortage
) -> AsyncIterator[Mapping[str, str]]:
    """Serve `ncl`, and yield an environment with the program on PATH. Both end with the context.

    Raises:
        OSError: Temporary files cannot be created.
    """
    with tempfile.TemporaryDirectory(prefix="nanoclaw-ncl-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        program, socket = directory / "ncl", directory / "ncl.sock"
        server = FrameServer(socket, Relay(host, answer_s, shortage).answer, idle_s=IDLE_S)
        program.write_text(_script(), encoding="utf-8")
        program.chmod(0o700)
        await server.open()
        try:
            path = os.pathsep.join((name, environment.get("PATH") or os.defpath))
            yield {**environment, "PATH": path, NCL_SOCKET_VARIABLE: str(socket)}
        finally:
            await server.close()


def frame_of(answer: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Return the frame for `ncl` from the host's answer to the action.

    The frame is the answer's data. If the host refused the action itself, the frame carries its error.
    """
    data, error = answer.get("data"), answer.get("error")
    if answer.get("ok") is True and isinstance(data, dict) and isinstance(data.get("ok"), bool):
        return {**data, "id": request_id}
    if answer.get("ok") is False and isinstance(error, dict):
        return {"id": request_id, "ok": False, "error": error}
    return _refusal(request_id, "the host's answer is not a frame. It may be of another version.")


def _refusal(request_id: str, message: str) -> dict[str, Any]:
    return Answer(id=request_id, ok=False, code=Code.TRANSPORT_ERROR, message=message).as_json_object()


def _as_line(frame: Mapping[str, Any]) -> bytes:
    return json.dumps(frame).encode() + b"\n"


def _script() -> str:
    """Return the program `ncl`: this Python without site packages, because their search takes half of a call's time."""
    paths = [str(Path(package.__path__[0]).parent) for package in (nanoclaw_client, nanoclaw_wire)]
    code = f"import sys; sys.path[:0] = {paths!r}; from nanoclaw_client.__main__ import main; sys.exit(main())"
    # A shell starts it, because the kernel accepts neither long paths nor paths with blanks behind `#!`.
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -X utf8 -c {shlex.quote(code)} "$@"\n'
