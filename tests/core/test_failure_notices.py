"""Messages that people read if a sandbox does not start, is refused or dies."""

import asyncio

import pytest
from instance_state import message_statuses
from runner_scripts import dying
from simulated_time import simulated_time

from nanoclaw_core import Address, Readiness, SandboxFailed, SandboxRefused
from nanoclaw_core.sandboxes.notices import NOT_NOW, REFERENCE_HINT
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import ScriptedRuntime


@pytest.mark.defect(number=42)
def test_people_are_informed_when_a_message_is_given_up(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(dying(100))) as running:
            receipt = await running.channel.say("hi")
            (text,) = await running.channel.texts(1)
            await until(lambda: message_statuses(instance) == [("failed", 5)])
            return [text, receipt.correlation_id]

    text, correlation_id = asyncio.run(scenario())
    assert "could not answer" in text
    assert correlation_id in text


@pytest.mark.defect(number=47)
def test_failure_is_never_sent_to_an_agent(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            running.host.components.notifier.send_failure(Address("agent", session.agent_group_id), "an error", "msg-1")
            await running.channel.say("and?")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hi", "echo: and?"]
    assert instance.db.execute("SELECT count(*) FROM deliveries WHERE channel = 'agent'").get == 0


def test_sandbox_start_is_retried_after_a_failure(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxFailed("engine hiccup")]
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_people_are_informed_of_repeated_start_failures(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxFailed("engine down")] * 3
            await running.channel.say("hi")
            return await running.channel.texts(2)

    first, second = asyncio.run(scenario())
    assert first.startswith(f"{NOT_NOW} {REFERENCE_HINT} msg-")
    assert second == "echo: hi"


@pytest.mark.invariant(number=12)
def test_people_are_informed_of_each_refusal(
    instance: Instance, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People read plain words and a reference, at most once a minute.

    The log has cause and remedy under that reference.
    """
    readiness = Readiness(ready=False, isolates=False, detail="no engine", remedy="Install one.")

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(readiness=readiness)) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.channel.say("still there?")
            await asyncio.sleep(50.0)
            assert len(running.channel.delivered) == 1
            await asyncio.sleep(100.0)  # the sweep wakes the session
            return await running.channel.texts(2)

    sentences = {
        "The agent cannot be started right now",
        "Your message is kept and will be answered once this is fixed",
    }
    with simulated_time(monkeypatch) as loop:
        texts = loop.run_until_complete(scenario())
    for text in texts:
        plain, _, reference = text.partition(f". {REFERENCE_HINT} ")
        assert set(plain.split(". ")) == sentences
        (logged,) = [record for record in caplog.records if getattr(record, "correlation", "") == reference.rstrip(".")]
        assert "no engine. Install one." in vars(logged)["reason"]
    assert message_statuses(instance) == [("pending", 0), ("pending", 0)]


def test_refusal_is_sent_as_failure_and_message_is_kept(instance: Instance) -> None:
    """People read the friendly text of the refusal, and the message is answered later."""

    async def scenario() -> tuple[list[str], list[bool]]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxRefused("image: missing. Run it.", for_people="No agent today.")]
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.host.components.sweeper.once()
            texts = await running.channel.texts(2)
            return texts, [sent.message.is_failure for sent in running.channel.delivered]

    (notice, answer), failures = asyncio.run(scenario())
    assert notice.startswith("No agent today. Your message is kept and will be answered once this is fixed. ")
    assert "image" not in notice
    assert (answer, failures) == ("echo: hi", [True, False])


def test_wait_for_a_runtime_is_shown_and_logged(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    class Hanging(ScriptedRuntime):
        async def reap(self) -> int:
            await answered.wait()
            return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=Hanging()) as running:
            await running.channel.say("hi")
            await running.channel.status("stopping sandboxes of the previous host")
            await until(lambda: "no sandbox starts before this runtime has answered" in caplog.messages)
            assert running.channel.delivered == []
            answered.set()
            return await running.channel.texts(1)

    answered = asyncio.Event()
    assert asyncio.run(scenario()) == ["echo: hi"]
