"""The control socket of `ncl` on the host.

Its callers are the operator; its file mode keeps others out (I7).
"""

from __future__ import annotations

from pathlib import Path

from nanoclaw_wire.frame_server import FrameServer, Progress
from nanoclaw_wire.frames import Request

from nanoclaw_core.descriptors.votes import Caller
from nanoclaw_core.dispatch import Dispatch


def control_server(path: Path, dispatch: Dispatch, idle_s: float) -> FrameServer:
    """Return the server for `run/ncl.sock`; it disconnects a client that sends no request for `idle_s` seconds."""

    async def answer(request: Request, progress: Progress) -> bytes:
        return (await dispatch.answer(request, Caller(operator=True, progress=progress))).as_line()

    return FrameServer(path, answer, idle_s=idle_s)
