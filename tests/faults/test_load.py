"""Load: a message and an attachment of 10 MB, and a thousand messages at once (I3, I4)."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest
from harness import DIRECT, Room
from kill_series import KillSeries
from nanoclaw_wire.layout import Layout

from nanoclaw_core import Attachment, Budgets
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import Delivered
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

MESSAGES = 1_000
LARGE_BYTES = 10_000_000


def test_large_message_gets_a_shortened_answer(short_directory: Path) -> None:
    """A message of 10 MB is answered.

    Its answer of that length is cut off at a million characters.
    """
    budgets = Budgets(message_characters=2 * LARGE_BYTES)
    series = KillSeries(short_directory, 0, ("host",), rooms=[DIRECT], core={"budgets": budgets})
    asyncio.run(series.run_flood([(DIRECT.name, "x" * LARGE_BYTES)]))
    answer = series.harness.platform.delivered[0].text
    assert len(answer) == 1_000_000
    assert answer.endswith("too long]")
    series.check()


def test_large_attachment_is_received_and_sent_whole(tmp_path: Path) -> None:
    """An agent gets an attachment of 10 MB and sends it back."""
    content = os.urandom(LARGE_BYTES)

    async def sends_file_back(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            (file,) = json.loads(messages[-1].content)["attachments"]
            folder = runner.files.outbox / f"{runner.spec.name}-1"
            folder.mkdir(parents=True)
            (folder / "back.bin").write_bytes(_attached(runner.files, file["path"]).read_bytes())
            last = messages[-1]
            runner.write({"text": "here", "files": ["back.bin"]}, done=messages, channel=last.channel, room=last.room)

    async def scenario() -> Delivered:
        async with running_host(instance, runtime=ScriptedRuntime(sends_file_back)) as running:
            await running.channel.say("take this", attachments=[Attachment(name="large.bin", content=content)])
            await running.channel.texts(1)
            return running.channel.delivered[0]

    instance = make_instance(tmp_path / "home")
    instance.wire()
    (file,) = asyncio.run(scenario()).message.files
    instance.db.close()
    assert hashlib.sha256(content).hexdigest() == hashlib.sha256(file.content).hexdigest()


def _attached(files: Layout, path: str) -> Path:
    return files.incoming / path


@pytest.mark.slow
@pytest.mark.invariant(number=3)
@pytest.mark.parametrize("count", [1, 50], ids=["one-session", "fifty-sessions"])
def test_thousand_messages_survive_the_kill_of_their_host(short_directory: Path, count: int) -> None:
    """The host is killed once it has accepted all of them.

    The next host answers each.
    """
    rooms = [Room(name=f"room-{number}", agents=(f"agent-{number}",)) for number in range(count)]
    series = KillSeries(
        short_directory, 0, ("host",), core={"max_sandboxes": count}, rooms=rooms, messages_per_prompt=10
    )
    asyncio.run(series.run_flood([(rooms[number % count].name, "") for number in range(MESSAGES)]))
    series.check()
