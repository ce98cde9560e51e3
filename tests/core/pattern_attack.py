"""Attacks a host with a slow engage pattern, in a process that is killed after 20 s of processor time.

The flood costs 25 s if each of its messages may use as much time as the first one.

Usage: pattern_attack.py HOME. Prints the outcome of each message and the findings of the doctor as JSON.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

from nanoclaw_cli.checks import run_checks

from nanoclaw_core.store.messaging import EngageMode
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import RecorderChannel

PATTERN = "^(a+)+$"
CPU_SECONDS = 20
FLOOD = 500
ATTACK = "a" * 5_000 + "!"


async def attack(home: Path) -> dict[str, Any]:
    instance = make_instance(home)
    wiring = instance.wire(engage_mode=EngageMode.PATTERN, engage_pattern=PATTERN)
    outcomes = {}
    async with running_host(instance, channel=RecorderChannel(refused=["eve"])) as running:

        async def say(name: str, text: str, sender: str = "ada") -> None:
            outcomes[name] = (await running.channel.say(text, sender=sender)).outcome.value

        await say("stranger", ATTACK, sender="eve")
        after_stranger = await named(home)
        await say("27 letters", "a" * 27 + "!")
        await say("attack", ATTACK)
        for _ in range(FLOOD):
            await say("flood", ATTACK)
        await say("fitting", "aaa")
        answers = await running.channel.texts(1)
    return {
        "wiring": wiring.id,
        "outcomes": outcomes,
        "answers": answers,
        "named after the stranger": after_stranger,
        "named": await named(home),
    }


async def named(home: Path) -> dict[str, str]:
    return {finding.name: finding.detail for finding in await run_checks(home, {}) if finding.area == "wirings"}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    print(json.dumps(asyncio.run(attack(Path(sys.argv[1])))))
