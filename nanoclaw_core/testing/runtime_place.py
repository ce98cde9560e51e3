"""The directories of a session, and the description of a sandbox in them, for the tests of runtimes.

Run as a script with a place as its argument, it is a host that starts one sandbox and then waits to be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import apsw
import cattrs
from attrs import evolve, field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.sandboxes import Limits, Mount, SandboxSpec
from nanoclaw_core.ids import SessionId

PROLOGUE = (
    "import json, os\n"
    "def answer(value):\n"
    "    with open(os.environ['OUT'] + '/answer.json', 'w') as file:\n"
    "        json.dump(value, file)\n"
)
SIGNS_OF_LIFE = "import time\nwhile True: open(os.environ['OUT'] + '/alive', 'w').close(); time.sleep(0.02)"


@frozen(kw_only=True)
class Place:
    """The directories and the names of one sandbox of a test.

    Args:
        plugin: The name of the module that offers the runtime.
        settings: The plugin's table of nanoclaw.toml.
        home: The instance directory.
        name: The sandbox's name, unique among all tests.
        instance_id: The instance's id, unique among all tests.
        environment: The host's environment in the plugin's context.
    """

    plugin: str
    settings: Mapping[str, Any]
    home: Path
    name: str
    instance_id: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def incoming(self) -> Path:
        """The directory that the sandbox sees read-only at $IN."""
        return self.home / self.name / "in"

    @property
    def outgoing(self) -> Path:
        """The directory that the sandbox may write, at $OUT."""
        return self.home / self.name / "out"

    def make(self) -> Place:
        """Create the directories with default permissions, as a host does."""
        for directory in (self.incoming, self.outgoing):
            directory.mkdir(parents=True)
        return self

    def other_session(self, name: str) -> Place:
        """Create another session of the same instance."""
        return evolve(self, name=f"{self.name}-{name}").make()

    def with_variable(self, name: str, value: str) -> Place:
        """Return a copy with one more variable in the host's environment."""
        return evolve(self, environment={**self.environment, name: value})

    def spec(self, code: str, *, name: str | None = None, **limits: int) -> SandboxSpec:
        """Describe a sandbox that runs Python code. The code's `answer(value)` is the result of `answer()`."""
        return SandboxSpec(
            session_id=SessionId("ses-0123456789ab"),
            name=name or self.name,
            arguments=("-c", PROLOGUE + code),
            mounts=(
                Mount(source=self.incoming, target="/workspace/in"),
                Mount(source=self.outgoing, target="/workspace/out", writable=True),
            ),
            environment={"IN": "/workspace/in", "OUT": "/workspace/out"},
            runs_tools=False,
            limits=Limits(**limits),
        )

    def answer(self) -> Any:
        """Return the sandbox's answer."""
        return json.loads((self.outgoing / "answer.json").read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def listening(self) -> Iterator[socket.socket]:
        """Listen at `bell.sock` in the inbound directory."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            directory = os.open(self.incoming, os.O_RDONLY)
            try:
                server.bind(f"/proc/self/fd/{directory}/bell.sock")  # a test's path may be too long for an address
            finally:
                os.close(directory)
            (self.incoming / "bell.sock").chmod(0o666)
            server.listen()
            yield server

    def context(self) -> PluginContext:
        """Return the plugin's context, as the core would create it."""
        plugin = self.plugin.split(".")[0].rpartition("_")[2]
        return PluginContext(
            plugin=plugin,
            instance_id=self.instance_id,
            home=self.home,
            data_dir=self.home / "data" / plugin,
            run_dir=self.home / "run",
            environment=self.environment,
            database=apsw.Connection(":memory:"),
        )

    def to_text(self) -> str:
        """Serialise the place for another process, without the environment, which the process inherits."""
        return json.dumps(cattrs.unstructure(evolve(self, environment={})))


def new_place(home: Path, plugin: str, settings: Mapping[str, Any]) -> Place:
    """Create an instance directory with one session."""
    return Place(
        plugin=plugin,
        settings=settings,
        home=home,
        name=f"nanoclaw-test-{secrets.token_hex(6)}",
        instance_id=secrets.token_hex(6),
        environment=dict(os.environ),
    ).make()


def connect(place: Place) -> RuntimeAdapter:
    """Create the runtime as the core does."""
    (runtime,) = import_module(place.plugin).nanoclaw_runtimes()
    settings = cattrs.Converter(forbid_extra_keys=True).structure(dict(place.settings), runtime.settings)
    adapter: RuntimeAdapter = runtime.connect(settings, place.context(), ())
    return adapter


async def _host(place: Place) -> None:
    await connect(place).start(place.spec(SIGNS_OF_LIFE))
    while not (place.outgoing / "alive").exists():  # noqa: ASYNC110  # another process creates it
        await asyncio.sleep(0.01)
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_host(evolve(cattrs.structure(json.loads(sys.argv[1]), Place), environment=dict(os.environ))))
