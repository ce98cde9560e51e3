"""Delivery by a running host: order, permissions, edits, files and status."""

import asyncio
import json
from typing import Any

import pytest
from instance_state import delivery_states
from nanoclaw_wire import outbound
from nanoclaw_wire.outbound import AckStatus, NewOutbound, OutKind
from runner_scripts import writing

from nanoclaw_core import Address, DeliveryRequest, Outbound, Verdict, Vote, hookimpl
from nanoclaw_core.mailbox.outbox import ROW_BATCH
from nanoclaw_core.store import messaging
from nanoclaw_core.store.messaging import MessagingGroup
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


def test_messages_of_a_turn_arrive_in_written_order(instance: Instance) -> None:
    async def scenario() -> list[str]:
        script = writing(*({"text": str(number)} for number in range(20)))
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("count")
            return await running.channel.texts(20)

    assert asyncio.run(scenario()) == [str(number) for number in range(20)]


def test_message_is_delivered_once_after_many_rings(instance: Instance) -> None:
    async def ringing(runner: FakeRunner) -> int:
        messages = await runner.take()
        runner.answer(messages, "one")
        for _ in range(50):
            runner.bell.ring()
            await asyncio.sleep(0)
        messages = await runner.take()
        runner.answer(messages, "two")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(ringing)) as running:
            await running.channel.say("a")
            await running.channel.texts(1)
            await running.channel.say("b")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["one", "two"]


def test_room_without_permission_gets_no_message(instance: Instance) -> None:
    messaging.add(instance.db, MessagingGroup(channel="recorder", room="secret", is_group=True))

    async def scenario() -> list[Any]:
        script = writing({"text": "psst"}, room="secret")
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            await until(lambda: delivery_states(instance) == [("failed", 0)])
            return running.channel.attempts

    assert asyncio.run(scenario()) == []


def test_vote_can_permit_another_room(instance: Instance) -> None:
    messaging.add(instance.db, MessagingGroup(channel="recorder", room="garden", is_group=True))

    class Permits:
        @hookimpl
        def nanoclaw_permit_delivery(self, request: DeliveryRequest) -> Verdict:
            return Verdict(Vote.ALLOW if request.address.room == "garden" else Vote.DENY)

    async def scenario() -> Address:
        runtime = ScriptedRuntime(writing({"text": "hello"}, room="garden"))
        async with running_host(instance, runtime=runtime, permits=Permits()) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return running.channel.delivered[0].address

    assert asyncio.run(scenario()) == Address("recorder", "garden")


@pytest.mark.defect(number=41)
@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        "null",
        '{"operation": "edit", "seq": 9223372036854775808, "text": "x"}',
        '{"text": 7}',
        '{"text": ""}',
        '{"operation": "dance"}',
    ],
)
def test_malformed_row_fails_alone(instance: Instance, content: str) -> None:
    async def scenario() -> list[str]:
        script = writing(content, {"text": "fine"})
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["fine"]
    assert [status for status, _ in delivery_states(instance)] == ["failed", "sent"]


def test_rows_beyond_one_batch_are_delivered_in_order(instance: Instance) -> None:
    many = ROW_BATCH + 50

    async def flood(runner: FakeRunner) -> int:
        messages = await runner.take()
        rows = [
            NewOutbound(
                id=f"m{number}",
                kind=OutKind.CHAT,
                at="2026-01-01T00:00:00.000Z",
                content=json.dumps({"text": str(number)}),
                channel="recorder",
                room="room",
            )
            for number in range(many)
        ]
        outbound.write(
            runner.written,
            now="2026-01-01T00:00:00.000Z",
            messages=rows,
            acknowledge=[(message.id, AckStatus.COMPLETED) for message in messages],
        )
        runner.bell.ring()
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(flood)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(many)

    assert asyncio.run(scenario()) == [str(number) for number in range(many)]


@pytest.mark.defect(number=24)
def test_last_message_of_a_sandbox_is_delivered_at_once(instance: Instance) -> None:
    async def answers_and_exits(runner: FakeRunner) -> int:
        messages = await runner.take()
        await is_connected.wait()
        await runner.bell.close()
        runner.answer(messages, "goodbye")
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(answers_and_exits)) as running:
            await running.channel.say("hi")
            components = running.host.components
            await until(lambda: any(sandbox.bell.connected for sandbox in components.supervisor.running.values()))
            is_connected.set()  # the poll that follows a connection is over
            return await running.channel.texts(1)

    is_connected = asyncio.Event()

    assert asyncio.run(scenario()) == ["goodbye"]


def test_edit_names_the_platform_id_of_an_answer(instance: Instance) -> None:
    async def editing(runner: FakeRunner) -> int:
        first = await runner.take()
        runner.answer(first, "teh answer")
        second = await runner.take()
        where = {"channel": "recorder", "room": "room"}
        seq = runner.written.execute("SELECT max(seq) FROM messages_out").get
        runner.write({"operation": "edit", "seq": seq, "text": "the answer"}, done=second, **where)
        runner.write({"operation": "reaction", "seq": second[0].seq, "emoji": "thumbs_up"}, **where)
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[Outbound]:
        async with running_host(instance, runtime=ScriptedRuntime(editing)) as running:
            await running.channel.say("hi", message_id="p-1")
            await running.channel.texts(1)
            await running.channel.say("fix it", message_id="p-2")
            await running.channel.texts(3)
            return [sent.message for sent in running.channel.delivered]

    answer, edit, reaction = asyncio.run(scenario())
    assert answer.in_reply_to == "p-1"
    assert (edit.edit_of, edit.text) == ("recorder-1", "the answer")
    assert (reaction.reaction_to, reaction.emoji) == ("p-2", "thumbs_up")


def test_files_are_sent_and_then_removed(instance: Instance) -> None:
    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        folder = runner.files.outbox / f"{runner.spec.name}-1"
        folder.mkdir()
        (folder / "report.txt").write_text("all well")
        runner.write({"text": "see", "files": ["report.txt"]}, done=messages, channel="recorder", room="room")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> Outbound:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("report?")
            await running.channel.texts(1)
            outbox = instance.paths.home / "sessions"
            await until(lambda: not list(outbox.glob("*/out/outbox/*")))
            return running.channel.delivered[0].message

    (file,) = asyncio.run(scenario()).files
    assert (file.name, file.content) == ("report.txt", b"all well")


@pytest.mark.defect(number=29)
def test_link_in_outbox_sends_no_host_file(instance: Instance) -> None:
    secret = instance.paths.home / "nanoclaw.toml"
    secret.write_text("# secret")

    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        folder = runner.files.outbox / f"{runner.spec.name}-1"
        folder.mkdir()
        (folder / "report.txt").symlink_to(secret)
        runner.write({"text": "see", "files": ["report.txt"]}, done=messages, channel="recorder", room="room")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[Outbound]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("report?")
            await until(lambda: delivery_states(instance) == [("failed", 1)])
            return running.channel.attempts

    assert asyncio.run(scenario()) == []
    assert secret.read_text() == "# secret"


@pytest.mark.defect(number=29)
def test_forged_outbound_ids_stay_in_their_session(instance: Instance) -> None:
    async def forging(runner: FakeRunner) -> int:
        messages = await runner.take()
        runner.written.execute("PRAGMA ignore_check_constraints = 1")
        row = ("../../escape", "chat", "never", '{"text": "boo", "files": ["x"]}', "recorder", "room")
        statement = "INSERT INTO messages_out (seq, id, kind, at, content, channel, room) VALUES (9, ?, ?, ?, ?, ?, ?)"
        runner.written.execute(statement, row)
        runner.answer(messages, "after the forgery")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(forging)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["after the forgery"]
    assert [status for status, _ in delivery_states(instance)] == ["failed", "sent"]


def test_deliver_after_delays_no_other_message(instance: Instance) -> None:
    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        where = {"channel": "recorder", "room": "room"}
        runner.write({"text": "in the year 3000"}, deliver_after="3000-01-01T00:00:00.000Z", **where)
        runner.write({"text": "now"}, done=messages, **where)
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["now"]
    assert [status for status, _ in delivery_states(instance)] == ["queued", "sent"]


def test_status_shows_sandbox_start_and_work(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.channel.status("")
            return running.channel.statuses

    shown = asyncio.run(scenario())
    assert shown[:2] == ["starting a sandbox", "the agent is at work"]


@pytest.mark.defect(number=27)
def test_poll_without_news_reads_no_old_message(instance: Instance) -> None:
    async def scenario() -> int:
        async with running_host(instance) as running:
            for count in range(1, 6):
                await running.channel.say("hi")
                await running.channel.texts(count)
            session_id, mark = instance.db.execute("SELECT id, outbound_seq FROM sessions").fetchone()
            components = running.host.components
            return len(components.mailbox.outbox.read_new(session_id, mark).messages)

    assert asyncio.run(scenario()) == 0
