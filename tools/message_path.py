"""Prints the path of a warm message: its calls, and its changes between files.

    python tools/message_path.py [--steps]

A host with a recording channel and the real runner with the mock provider run in one process, so that one trace shows
both sides. The first message starts everything. The second one is traced from the channel adapter to the platform and
to the end of its turn. The trace leaves out calls of the test kit, of the clock and of SQLite's file layer, and
repeated calls of the same function.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import frozen
from nanoclaw_provider_mock import host as mock_host
from nanoclaw_runner.plugins import load_installed
from nanoclaw_runner.runner import Runner
from nanoclaw_runner.workspace import Workspace
from nanoclaw_wire.config import read_config
from nanoclaw_wire.layout import SANDBOX_AGENT, SANDBOX_EXTRA, SANDBOX_IN, SANDBOX_OUT, Layout

from nanoclaw_core import Host, PluginContext, Readiness, Runtime, SandboxExit, SandboxSpec, hookimpl
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import RecorderChannel

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("testing/", "message_path.py", "untrusted_files.py", "untrusted_paths.py", "clock.py")


@frozen
class Call:
    """One call of a function of this project."""

    file: str
    function: str


class InProcessSandbox:
    """A sandbox that is a task of this process."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._task = asyncio.create_task(runner.run())

    async def wait(self) -> SandboxExit:
        await asyncio.wait([self._task])
        return SandboxExit(code=0 if self._task.exception() is None else 1, reason="exited")

    async def stop(self, _grace_s: float) -> None:
        self._runner.stop()
        await asyncio.wait([self._task])


class InProcessRuntime:
    """A runtime that runs the real runner in this process."""

    @hookimpl
    def nanoclaw_runtimes(self) -> Iterable[Runtime]:
        yield Runtime(name="in-process", connect=lambda *_: self)

    async def check(self) -> Readiness:
        return Readiness(ready=True, isolates=True, detail="in this process")

    async def shown_directories(self) -> Sequence[Path]:
        return ()

    async def start(self, spec: SandboxSpec) -> InProcessSandbox:
        places = {mount.target: mount.source for mount in spec.mounts}
        files = Layout(places[SANDBOX_IN], places[SANDBOX_OUT])
        config = read_config(files.config.read_text(encoding="utf-8"))
        workspace = Workspace(files=files, agent=places[SANDBOX_AGENT], extra=Path(SANDBOX_EXTRA))
        return InProcessSandbox(
            Runner(workspace=workspace, config=config, plugins=load_installed(), environment=spec.environment)
        )

    async def reap(self) -> int:
        return 0

    async def close(self) -> None:
        pass

    def _connect(self, _settings: object, _context: PluginContext) -> InProcessRuntime:
        return self


class Trace:
    """Records the calls of this project's functions within a block."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __enter__(self) -> Trace:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        file = frame.f_code.co_filename
        if not file.startswith(f"{ROOT}/") or "/.nanoclaw-env/" in file or any(part in file for part in LEFT_OUT):
            return
        name = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
        call = Call(str(Path(file).relative_to(ROOT)), name)
        if not self.calls or self.calls[-1] != call:
            self.calls.append(call)


def file_changes(calls: Sequence[Call]) -> int:
    """Count how often the file of a call differs from that of the call before it."""
    return sum(before.file != after.file for before, after in itertools.pairwise(calls))


def entries(calls: Sequence[Call]) -> Counter[str]:
    """Count how often the calls enter each file from another one."""
    before = [None, *(call.file for call in calls)]
    return Counter(call.file for call, last in zip(calls, before, strict=False) if call.file != last)


async def traced(home: Path) -> list[Call]:
    """Send two messages through a host, and return the calls of the second one."""
    instance = make_instance(home, provider="mock", runtime="in-process")
    instance.configure("mock", echo=True)
    instance.wire()
    channel, trace = RecorderChannel(), Trace()
    own = {"recorder": channel, "in-process": InProcessRuntime(), "mock": mock_host}
    async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False):
        await channel.say("one")
        await channel.texts(1)
        await asyncio.sleep(1)  # until the acknowledgements of the first turn are copied
        with trace:
            await channel.say("two")
            await channel.texts(2)
            await asyncio.sleep(0.2)
    instance.db.close()
    return trace.calls


def main() -> int:
    """Print the figures, and with --steps each call."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", action="store_true", help="print each call in its order")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        calls = asyncio.run(traced(Path(scratch) / "home"))
    if options.steps:
        file = ""
        for call in calls:
            if call.file != file:
                print(call.file)
                file = call.file
            print(f"    {call.function}")
    print(f"{len(calls)} calls, {len(set(calls))} functions, {len({call.file for call in calls})} files")
    print(f"{file_changes(calls)} changes of file")
    for file, count in entries(calls).most_common(12):
        print(f"{count:5}  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
