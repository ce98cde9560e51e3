"""What is much at once: a message and an attachment of 10 MB, and a thousand messages in a second (I3, I4)."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest
from harness import DIRECT, Room
from kill_series import KillSeries
from nanoclaw_wire.layout import Layout

from nanoclaw_core import Attachment
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import Delivered
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

MESSAGES = 1_000
LARGE_BYTES = 10_000_000


def test_a_message_of_10_mb_is_answered_and_an_answer_of_that_length_is_cut_off(short_directory: Path) -> None:
    series = KillSeries(short_directory, 0, ("host",), rooms=[DIRECT])
    asyncio.run(series.run_flood([(DIRECT.name, "x" * LARGE_BYTES)]))
    answer = series.harness.platform.delivered[0].text
    assert len(answer) == 1_000_000
    assert answer.endswith("too long]")
    series.check()


def test_an_attachment_of_10_mb_arrives_whole_and_goes_out_whole(tmp_path: Path) -> None:
    content = os.urandom(LARGE_BYTES)

    async def send_it_back(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            (file,) = json.loads(messages[-1].content)["attachments"]
            folder = runner.files.outbox / f"{runner.spec.name}-1"
            folder.mkdir(parents=True)
            (folder / "back.bin").write_bytes(_attached(runner.files, file["path"]).read_bytes())
            last = messages[-1]
            runner.write({"text": "here", "files": ["back.bin"]}, done=messages, channel=last.channel, room=last.room)

    async def scenario() -> Delivered:
        async with running_host(instance, runtime=ScriptedRuntime(send_it_back)) as running:
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
@pytest.mark.parametrize("count", [1, 50], ids=["one-session", "fifty-sessions"])
def test_invariant_03_a_thousand_messages_at_once_are_durable_when_accepted_and_answered_by_the_next_host(
    short_directory: Path, count: int
) -> None:
    rooms = [Room(name=f"room-{number}", agents=(f"agent-{number}",)) for number in range(count)]
    series = KillSeries(
        short_directory, 0, ("host",), core={"max_sandboxes": count}, rooms=rooms, messages_per_prompt=10
    )
    asyncio.run(series.run_flood([(rooms[number % count].name, "") for number in range(MESSAGES)]))
    series.check()
