"""`ncl` in a sandbox: the time of a request without the start of the program, measured in the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from nanoclaw_core import Host
from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.messages_script import Step

from . import targets
from .figures import Figure
from .message_path import FastChannel

# `ncl` refuses `--frob` without a request, so this measures only the program's start.
MEASURE = """
import json, statistics, subprocess, time

def took(*words):
    began = time.perf_counter()
    subprocess.run(["ncl", *words], capture_output=True)
    return (time.perf_counter() - began) * 1000

def median(*words):
    return statistics.median([took(*words) for _ in range(ROUNDS + 1)][1:])

assert subprocess.run(["ncl", "groups", "list"], capture_output=True).returncode == 0
print(json.dumps(median("groups", "list") - median("--frob")))
"""


def asking(home: Path, rounds: int) -> Iterator[Figure]:
    """Measure a request from claude's shell in bubblewrap.

    Yield nothing without bubblewrap.
    """
    if shutil.which("bwrap") is None:
        print("skipping ncl in a sandbox: bubblewrap is not installed", file=sys.stderr)
        return
    yield Figure(metric=targets.NCL_INSIDE, value=asyncio.run(_measure(home, rounds)))


async def _measure(home: Path, rounds: int) -> float:
    instance = make_instance(home, provider="claude", runtime="process", disabled_plugins=["terminal"])
    instance.wire()
    script = MEASURE.replace("ROUNDS", str(rounds))
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"
    steps = [Step(tool="Bash", input={"command": command}), Step(text='<message to="recorder">done</message>')]
    async with FakeMessagesApi(steps, key="key") as api:
        channel = FastChannel()
        environment = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": api.url}
        async with Host(instance.settings, plugins={"recorder": channel}, environment=environment):
            await channel.say("measure")
            await channel.wait_for(1)
        output = api.conversations[-1].last_said
    instance.db.close()
    return float(json.loads(output))
