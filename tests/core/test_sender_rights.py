"""Rights of senders: the votes on a message, and the commands of approvers."""

import asyncio
from collections.abc import Iterable

import pytest
from instance_state import dropped_messages

from nanoclaw_core import Attachment, Outcome, Receipt, Roster, UserId, hookimpl
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent


class AdminOf:
    """A plugin that makes a user an approver of one agent group."""

    def __init__(self, user: str, group_id: str) -> None:
        self._user, self._group_id = UserId(user), group_id

    @hookimpl
    def nanoclaw_rosters(self) -> Iterable[Roster]:
        yield Roster(name="admins", approvers=lambda group_id, _: [self._user] if group_id == self._group_id else [])


@pytest.mark.defect(number=1)
def test_denied_command_is_answered_and_others_receive_it(instance: Instance) -> None:
    instance.wire(folder="other", priority=-1)
    admins = AdminOf("recorder:ada", instance.group("other").id)

    async def scenario() -> tuple[Receipt, set[str]]:
        async with running_host(instance, admins=admins) as running:
            return await running.channel.say("/clear"), set(await running.channel.texts(2))

    receipt, texts = asyncio.run(scenario())
    assert receipt.outcome is Outcome.ROUTED
    assert texts == {"Permission denied: /clear requires admin access.", "echo: /clear"}
    assert dropped_messages(instance) == [("ada", "command_needs_admin", 1)]


def test_owner_may_use_an_admin_command(instance: Instance) -> None:
    instance.settings.core.owners.append("recorder:ada")

    async def scenario() -> Receipt:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            return await running.channel.say("/clear")

    assert asyncio.run(scenario()).outcome is Outcome.ROUTED


@pytest.mark.defect(number=5)
@pytest.mark.parametrize("mode", [EngageMode.PATTERN, EngageMode.MENTION])
def test_message_of_a_refused_sender_is_not_stored(bare_instance: Instance, mode: EngageMode) -> None:
    pattern = "." if mode is EngageMode.PATTERN else None
    bare_instance.wire(engage_mode=mode, engage_pattern=pattern, ignored_policy=IgnoredPolicy.ACCUMULATE)

    async def scenario() -> Receipt:
        async with running_host(bare_instance, channel=RecorderChannel(refused=["eve"])) as running:
            attachment = Attachment(name="a.txt", content=b"x")
            return await running.channel.say("hello", sender="eve", attachments=(attachment,))

    assert asyncio.run(scenario()).outcome is Outcome.DROPPED
    assert bare_instance.sessions() == []
    assert bare_instance.db.execute("SELECT count(*) FROM users").get == 0


@pytest.mark.defect(number=19)
def test_refusal_is_counted_per_sender_with_its_reason(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, channel=RecorderChannel(refused=["eve", "mallory"])) as running:
            for sender in ("eve", "mallory", "eve"):
                await running.channel.say("hello", sender=sender)

    asyncio.run(scenario())
    assert dropped_messages(instance) == [("eve", "a stranger", 2), ("mallory", "a stranger", 1)]


@pytest.mark.defect(number=33)
def test_sender_id_with_a_colon_stays_in_its_channel(instance: Instance) -> None:
    instance.settings.core.owners.append("terminal:operator")

    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("/clear", sender="terminal:operator")

    assert asyncio.run(scenario()).outcome is Outcome.DROPPED


@pytest.mark.defect(number=46)
def test_only_the_whole_word_is_a_command(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            return await running.channel.say("/clearance please")

    assert asyncio.run(scenario()).outcome is Outcome.ROUTED


@pytest.mark.invariant(number=8)
def test_message_without_any_vote_is_dropped(instance: Instance) -> None:
    class Mute(RecorderChannel):
        nanoclaw_admit_message = None  # type: ignore[assignment]

    async def scenario() -> Receipt:
        async with running_host(instance, channel=Mute()) as running:
            return await running.channel.say("hello")

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, "no plugin allowed it")
