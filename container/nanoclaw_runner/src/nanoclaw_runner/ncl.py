"""`ncl` in the sandbox: what the agent starts asks at a socket here, and the runner asks the host for it.

The runner stays the one writer of outbound.db (I1). A request becomes one action row, written once: whatever becomes of
whoever asked, nobody writes it again, and an answer that nobody waits for any longer is acknowledged (⚠28).
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
REQUESTS = 32  # under way at a time; the inbox keeps 64 answers, and the model's tools need some of them
IDLE_S = 60.0
_NO_ANSWER = (
    "the host did not answer within {:g} s, and may still do what was asked: look whether it was done before you ask"
    " again"
)


class Relay:
    """Passes requests of `ncl` on to the host, and its answers back.

    Args:
        answer_s: How long the host may take.
        shortage: Ends the runner if a request meets an exhausted machine.
    """

    def __init__(self, host: ToolHost, answer_s: float, shortage: Shortage) -> None:
        self._host, self._answer_s, self._shortage = host, answer_s, shortage
        self._under_way = 0

    async def answer(self, request: Request, _progress: Progress) -> bytes:
        """Return the line that answers a request; never raises."""
        try:
            json.dumps([*request.words, request.options], ensure_ascii=False).encode()
        except (UnicodeError, RecursionError):
            return bad_frame("words and options must be UTF-8, and not nested too deep")
        if self._under_way >= REQUESTS:
            why = f"{REQUESTS} requests are under way already; wait for one of them, then retry"
            return _as_line(_refusal(request.id, why))
        self._under_way += 1
        try:
            return _as_line(await self._ask(request))
        except Exception as error:  # outbound.db cannot be written, foremost; the turn will hear of that, too
            if is_exhausted(error):
                self._shortage.met(error)
            log.exception("request of ncl not passed on")
            why = f"the request could not be passed on: {type(error).__name__}: {error}"
            return _as_line(_refusal(request.id, why))
        finally:
            self._under_way -= 1

    async def _ask(self, request: Request) -> dict[str, Any]:
        request_id = await self._host.request(ACTION, {"words": request.words, "options": request.options})
        try:
            answer = await self._host.answer(request_id, self._answer_s)
        except ToolError:
            return _refusal(request.id, _NO_ANSWER.format(self._answer_s))
        return frame_of(answer, request.id)


@contextlib.asynccontextmanager
async def offer_ncl(
    host: ToolHost, environment: Mapping[str, str], *, answer_s: float, shortage: Shortage
) -> AsyncIterator[Mapping[str, str]]:
    """Listen for `ncl`, and give the environment in which it is found; nothing of it is left afterwards.

    Raises:
        OSError: There is no place for temporary files.
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
    """Return the frame for whoever asked from the host's answer to the action, which carries one as its data.

    Where the host did not come as far as that, its error is the frame's.
    """
    data, error = answer.get("data"), answer.get("error")
    if answer.get("ok") is True and isinstance(data, dict) and isinstance(data.get("ok"), bool):
        return {**data, "id": request_id}
    if answer.get("ok") is False and isinstance(error, dict):
        return {"id": request_id, "ok": False, "error": error}
    return _refusal(request_id, "the host answered with something that is no frame; is it of another version?")


def _refusal(request_id: str, message: str) -> dict[str, Any]:
    return Answer(id=request_id, ok=False, code=Code.TRANSPORT_ERROR, message=message).as_json_object()


def _as_line(frame: Mapping[str, Any]) -> bytes:
    return json.dumps(frame).encode() + b"\n"


def _script() -> str:
    """Return the program `ncl`: our Python without site packages, whose search would be half of what a verb takes."""
    places = [str(Path(package.__path__[0]).parent) for package in (nanoclaw_client, nanoclaw_wire)]
    code = f"import sys; sys.path[:0] = {places!r}; from nanoclaw_client.__main__ import main; sys.exit(main())"
    # By way of a shell, as the kernel takes neither long paths nor such with blanks behind `#!`.
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -X utf8 -c {shlex.quote(code)} "$@"\n'
