"""Sessions that damage their own files again and again, and the budget of quarantined sessions (audit, "Later")."""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from attrs import evolve
from hostile_sandbox import ATTACKER, attacked_host
from nanoclaw_wire import clock

from nanoclaw_core import Budgets
from nanoclaw_core.sandboxes.quarantine import PAUSED
from nanoclaw_core.store import sessions
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance, quarantined_sessions
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=14)
LIMIT = 400_000
DAMAGED = "The files of this conversation were damaged."


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "limited", budgets=Budgets(quarantine_bytes=LIMIT), start_pauses_s=[0.01])
    yield made
    made.db.close()


async def damage_and_die(runner: FakeRunner) -> None:
    runner.files.outbound_db.write_bytes(b"no database at all" * 500)
    runner.bell.ring()
    raise RuntimeError("dead")


def quarantined(instance: Instance) -> list[str]:
    return quarantined_sessions(instance.paths.sessions)


def make_quarantined(instance: Instance, conversation: str, *, days: int, size: int) -> str:
    """Make a closed session of a conversation whose files were quarantined, and return the name of its directory."""
    group = instance.group()
    session = Session(agent_group_id=group.id, conversation=conversation, status="closed")
    sessions.add(instance.db, session)
    name = f"{session.id}.broken-{clock.now() - timedelta(days=days):%Y%m%dT%H%M%SZ}"
    for part in ("in", "out"):
        (instance.paths.sessions / name / part / "state").mkdir(parents=True)
    (instance.paths.sessions / name / "in" / "inbound.db").write_text("messages")
    (instance.paths.sessions / name / "out" / "outbound.db").write_text("messages")
    (instance.paths.sessions / name / "out" / "state" / "file").write_bytes(b"x" * size)
    return name


async def enforce_budget(instance: Instance) -> list[str]:
    """Run a host whose first sweep enforces the budget, and return what it keeps."""
    async with running_host(instance) as running:
        await running.host.components.recovery.budget.enforce()
        await running.host.components.directories.trash.empty()
        return quarantined(instance)


def test_session_that_damages_itself_again_waits(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """People read one notice of the damage, and one of the pause. No sandbox starts for further messages."""

    async def scenario() -> None:
        async with attacked_host(instance, damage_and_die, once=False) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, PAUSED)
            await host.running.channel.say("still there?", room=ATTACKER)
            await host.honest_answer("after")
            assert len(host.texts(ATTACKER)) == 2
            assert sum(f"-{ATTACKER}-" in spec.name for spec in host.running.runtime.specs) == 2

    asyncio.run(scenario())
    assert len(quarantined(instance)) == 2
    assert not [record for record in caplog.records if record.exc_info]


def test_message_of_a_paused_conversation_is_kept(instance: Instance) -> None:
    """The next host answers it."""

    async def first() -> None:
        async with attacked_host(instance, damage_and_die, once=False) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, PAUSED)
            await host.running.channel.say("still there?", room=ATTACKER)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    (text,) = asyncio.run(second())
    assert "still there?" in text


@pytest.mark.parametrize(("earlier", "notices"), [(0, 1), (1, 1), (2, 0)])
def test_people_read_two_notices_of_one_episode(instance: Instance, earlier: int, notices: int) -> None:
    instance.wire()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            await running.host.components.supervisor.stop_session(session.id, "a test")
            await running.host.components.recovery.quarantine.quarantine(session, "a test", earlier=earlier)
            await running.host.components.queues.drained()
            return (await running.channel.texts(1 + notices))[1:]

    texts = asyncio.run(scenario())
    assert [PAUSED in text for text in texts] == [earlier == 1] * notices


def test_session_is_quarantined_once(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """A second diagnosis ends after the quarantine, and finds no files: the first one has moved them."""
    instance.wire()
    go_on = Event()

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            recovery = running.host.components.recovery
            await running.host.components.supervisor.stop_session(session.id, "a test")
            (instance.paths.sessions / session.id / "out" / "outbound.db").write_bytes(b"no database at all" * 500)
            first = asyncio.create_task(recovery.diagnose(session.id))
            await asyncio.sleep(0)
            blocked = asyncio.create_task(asyncio.to_thread(go_on.wait))
            await asyncio.sleep(0)
            second = asyncio.create_task(recovery.diagnose(session.id))
            assert await first
            await until(lambda: instance.sessions()[0].id != session.id)
            go_on.set()
            await blocked
            assert await second
            assert not await recovery.recover(instance.sessions()[0].id)

    asyncio.run(scenario())
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["session quarantined"]


def test_oldest_quarantined_sessions_are_removed(limited: Instance, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    names = [make_quarantined(limited, "one", days=days, size=LIMIT // 3) for days in (1, 2, 3)]
    assert asyncio.run(enforce_budget(limited)) == [names[1], names[0]]
    assert not (limited.paths.sessions / names[2]).exists()
    (line,) = [record for record in caplog.records if record.message == "quarantined session removed"]
    assert (vars(line)["files"], vars(line)["reason"]) == (names[2], "beyond `quarantine_bytes`")


def test_old_quarantined_session_is_removed(limited: Instance) -> None:
    kept, _ = (make_quarantined(limited, name, days=days, size=1) for name, days in (("one", 29), ("two", 31)))
    assert asyncio.run(enforce_budget(limited)) == [kept]


def test_last_session_of_each_conversation_is_kept(limited: Instance) -> None:
    """A conversation whose files are damaged again and again removes only its own quarantined sessions."""
    victim = make_quarantined(limited, "victim", days=9, size=LIMIT // 3)
    attackers = [make_quarantined(limited, "attacker", days=days, size=LIMIT // 3) for days in (1, 2, 3, 4)]
    assert asyncio.run(enforce_budget(limited)) == [victim, attackers[0]]


def test_session_larger_than_the_budget_keeps_databases(limited: Instance) -> None:
    name = make_quarantined(limited, "one", days=1, size=2 * LIMIT)
    assert asyncio.run(enforce_budget(limited)) == [name]
    assert sorted(path.name for path in (limited.paths.sessions / name).iterdir()) == ["inbound.db", "outbound.db"]


def test_budget_of_one_byte_keeps_nothing(limited: Instance) -> None:
    """The budget is enforced at once after a quarantine, not only by the next sweep."""
    core = evolve(limited.settings.core, budgets=evolve(limited.settings.core.budgets, quarantine_bytes=1))
    limited.settings = evolve(limited.settings, core=core)

    async def scenario() -> None:
        async with attacked_host(limited, damage_and_die) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, DAMAGED)
            await until(lambda: not quarantined(limited))
            await host.text_in(ATTACKER, "echo: hi")

    asyncio.run(scenario())
