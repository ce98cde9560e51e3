"""The tests that every channel must pass.

Inherit from `ChannelContract` and describe the platform's side. Pytest then runs the tests on your channel:

    class Ntfy(Platform):                       # from nanoclaw_core.testing.channel_stage
        def __init__(self, server):
            self.server = server

        async def say(self, text, *, thread=None):
            self.server.say("kitchen", text)

        async def shown(self, count):
            return [Shown(text=text) for text in await asyncio.to_thread(self.server.answers, count)]

    class TestNtfy(ChannelContract):
        plugin = "nanoclaw_channel_ntfy.host"
        room = "kitchen"

        @pytest.fixture
        def platform(self):
            with FakeNtfy() as server:
                yield Ntfy(server)

        @pytest.fixture
        def settings(self, platform):
            return {"topic": "kitchen", "server": platform.server.url}

Class attributes declare the limits of a channel, and a test checks each declaration.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from attrs import evolve

from nanoclaw_core.descriptors.channels import ShowsStatus, ShowsTyping
from nanoclaw_core.descriptors.messages import Address, Card, CardOption, Outbound, OutboundFile, Outcome
from nanoclaw_core.descriptors.votes import Admission, Vote
from nanoclaw_core.errors import DeliveryRefused
from nanoclaw_core.ids import GroupId, UserId, WiringId
from nanoclaw_core.testing.channel_stage import Platform, Shown, Stage
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import WAIT_S

T = TypeVar("T")
CHOICES = [CardOption(label="Soup", value="soup"), CardOption(label="Salad", value="salad")]
ODD_TEXTS = ["two\nlines", "Grüße, 漢字, 🎉 👩‍👩‍👧", "<b>&amp;</b> *stars* _lines_ `code` @all #1 \\ \"quoted\" 'too'"]
RARE: Mapping[str, Mapping[str, Any]] = {
    "an edit": {"edit_of": "no-such-message", "text": "changed"},
    "a reaction": {"reaction_to": "no-such-message", "emoji": "thumbsup"},
    "a card": {"card": Card(title="Lunch", text="Soup is ready")},
    "a question": {"card": Card(id="q-1", title="Lunch", text="What shall it be?", options=CHOICES)},
    "an answer to a message": {"text": "to you", "in_reply_to": "no-such-message"},
    "nothing at all": {},
}


class ChannelContract:
    """The tests of a channel. The module's docstring shows how to inherit from it.

    Attributes:
        plugin: The name of the module that offers the channel, or the plugin object.
        room: The platform's id of the room in which `Platform.say` writes.
        sender: The platform's id of the person who writes there; None if the platform does not name senders.
        thread: A thread of the room, for channels that have threads.
        refused_room: A room for which the platform never accepts a message; None if it has no such room.
        stranger: A sender whom the plugin does not admit by itself; None if it admits everyone.
        admits: False if the channel leaves admission to other plugins.
        takes_files: False if the platform accepts no files. The channel must then refuse them for good.
        drops_repeats: True if a second attempt with the same idempotency key shows the message only once.
        offers_again: False if the platform offers a message only once. The channel must then report it to the sender.
        long_text: The number of characters of a text that must still arrive whole.
    """

    plugin: ClassVar[object]
    room: ClassVar[str]
    sender: ClassVar[str | None] = None
    thread: ClassVar[str | None] = None
    refused_room: ClassVar[str | None] = None
    stranger: ClassVar[str | None] = None
    admits: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True
    drops_repeats: ClassVar[bool] = False
    offers_again: ClassVar[bool] = True
    long_text: ClassVar[int] = 20_000

    @pytest.fixture
    def platform(self) -> Platform | Iterator[Platform]:
        """Return the platform's side. Override this fixture."""
        raise NotImplementedError("fixture `platform` is missing. Override it to return the platform's side.")

    @pytest.fixture
    def settings(self, platform: Platform) -> Mapping[str, Any]:
        """Return the plugin's table of nanoclaw.toml."""
        return {}

    @pytest.fixture
    def environment(self) -> Mapping[str, str]:
        """Return the host's environment."""
        return {}

    @pytest.fixture
    def stage(
        self, tmp_path: Path, settings: Mapping[str, Any], environment: Mapping[str, str], platform: Platform
    ) -> Iterator[Stage]:
        """Connect the channel to a fake core."""
        stage = Stage(tmp_path / "stage", self.plugin, settings, environment)
        yield stage
        stage.close()

    # The hook

    def test_channels_hook_can_be_repeated(self, stage: Stage) -> None:
        (again,) = stage.plugin.nanoclaw_channels()
        assert (again.name, again.has_threads, again.settings) == (
            stage.channel.name,
            stage.channel.has_threads,
            stage.channel.settings,
        )

    def test_channel_has_threads_if_the_contract_names_one(self, stage: Stage) -> None:
        assert stage.channel.has_threads == (self.thread is not None)

    # Inbound messages

    def test_message_of_a_person_reaches_the_core(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                await platform.say("hello", thread=self.thread)
                (inbound,) = await stage.arrived(1)
                assert (inbound.text, inbound.sender) == ("hello", self.sender)
                assert (inbound.room, inbound.thread) == (self.room, self.thread)
                assert inbound.at is None or inbound.at.tzinfo is not None
            assert stage.failures == []

        patiently(scenario())

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_inbound_text_arrives_unchanged(self, stage: Stage, platform: Platform, text: str) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                await platform.say(text)
                assert [inbound.text for inbound in await stage.arrived(1)] == [text]

        patiently(scenario())

    def test_messages_arrive_in_order_with_unique_ids(self, stage: Stage, platform: Platform) -> None:
        texts = [f"message {number}" for number in range(10)]

        async def scenario() -> None:
            async with both(stage, platform):
                for text in texts:
                    await platform.say(text)
                messages = await stage.arrived(len(texts))
                assert [inbound.text for inbound in messages] == texts
                ids = [inbound.message_id for inbound in messages if inbound.message_id is not None]
                assert len(set(ids)) == len(ids)

        patiently(scenario())

    def test_message_that_cannot_be_stored_is_not_lost(self, stage: Stage, platform: Platform) -> None:
        stage.troubles = [OSError("no space left on device")]

        async def scenario() -> None:
            async with both(stage, platform):
                await platform.say("first")
                if not self.offers_again:
                    await platform.say("second")
                (inbound,) = await stage.arrived(1)
                assert inbound.text == ("first" if self.offers_again else "second")

        patiently(scenario())

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_listening_goes_on_after_each_outcome(self, stage: Stage, platform: Platform, outcome: Outcome) -> None:
        stage.outcome = outcome

        async def scenario() -> None:
            async with both(stage, platform):
                for count in (1, 2):
                    await platform.say(f"message {count}")
                    await stage.arrived(count)
            assert stage.failures == []

        patiently(scenario())

    def test_listening_can_be_cancelled_and_repeated(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            task = asyncio.create_task(stage.adapter.listen(stage.receive))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with both(stage, platform):
                await platform.say("still there?")
                await stage.arrived(1)
            assert stage.failures == []

        patiently(scenario())

    # Outbound messages

    def test_deliver_shows_text_and_returns_id_or_none(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                message = Outbound(idempotency_key="k-1", text="soup")
                platform_id = await stage.adapter.deliver(self.address(stage), message)
                assert platform_id is None or (isinstance(platform_id, str) and platform_id)
                assert await platform.shown(1) == [Shown(text="soup")]

        patiently(scenario())

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_outbound_text_is_shown_unchanged(self, stage: Stage, platform: Platform, text: str) -> None:
        assert whole(self.shown_of(stage, platform, Outbound(idempotency_key="k-1", text=text))) == text

    def test_long_text_is_shown_whole_and_in_order(self, stage: Stage, platform: Platform) -> None:
        text = " ".join(str(number) for number in range(self.long_text))[: self.long_text].strip()
        pieces = self.shown_of(stage, platform, Outbound(idempotency_key="k-1", text=text))
        assert whole(pieces).split() == text.split()

    def test_files_are_shown_by_name_or_refused_for_good(self, stage: Stage, platform: Platform) -> None:
        names = ("menu für heute.txt", "b.bin")
        message = Outbound(
            idempotency_key="k-1", text="here", files=[OutboundFile(name=name, content=b"\x00\xff") for name in names]
        )
        if not self.takes_files:
            with pytest.raises(DeliveryRefused):
                self.shown_of(stage, platform, message)
            return
        messages = self.shown_of(stage, platform, message)
        assert [name for shown in messages for name in shown.files] == list(names)
        assert any("here" in shown.text for shown in messages)

    @pytest.mark.parametrize("kind", RARE)
    def test_rare_message_is_accepted_or_refused_for_good(self, stage: Stage, platform: Platform, kind: str) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                with contextlib.suppress(DeliveryRefused):  # the host would retry any other error, in vain
                    await stage.adapter.deliver(self.address(stage), Outbound(idempotency_key="k-1", **RARE[kind]))

        patiently(scenario())

    def test_message_for_refused_room_is_refused_for_good(self, stage: Stage, platform: Platform) -> None:
        if self.refused_room is None:
            pytest.skip("the platform accepts a message for every room")
        address = Address(stage.channel.name, self.refused_room)

        async def scenario() -> None:
            async with both(stage, platform):
                with pytest.raises(DeliveryRefused):
                    await stage.adapter.deliver(address, Outbound(idempotency_key="k-1", text="hello"))

        patiently(scenario())

    def test_concurrent_deliveries_all_arrive(self, stage: Stage, platform: Platform) -> None:
        texts = [f"message {number}" for number in range(10)]

        async def scenario() -> None:
            async with both(stage, platform):
                messages = [Outbound(idempotency_key=text, text=text) for text in texts]
                ids = await asyncio.gather(*(stage.adapter.deliver(self.address(stage), sent) for sent in messages))
                assert len(set(ids) - {None}) == len([platform_id for platform_id in ids if platform_id is not None])
                assert sorted(shown.text for shown in await platform.shown(len(texts))) == texts

        patiently(scenario())

    def test_repeated_key_is_shown_once_if_declared(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                message = Outbound(idempotency_key="k-1", text="once")
                for sent in (message, message, evolve(message, idempotency_key="k-2", text="last")):
                    await stage.adapter.deliver(self.address(stage), sent)
                expected = ["once", "last"] if self.drops_repeats else ["once", "once", "last"]
                assert [shown.text for shown in await platform.shown(len(expected))] == expected

        patiently(scenario())

    def test_typing_and_status_are_accepted(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                if isinstance(stage.adapter, ShowsTyping):
                    await stage.adapter.show_typing(self.address(stage))
                if isinstance(stage.adapter, ShowsStatus):
                    await stage.adapter.show_status(self.address(stage), "starting a sandbox")
                    await stage.adapter.show_status(self.address(stage), "")

        patiently(scenario())

    # Admission

    def test_vote_admits_own_people_and_no_strangers(self, stage: Stage) -> None:
        name = stage.channel.name
        assert self.vote(stage, name, self.sender) is (Vote.ALLOW if self.admits else None)
        if self.stranger is not None:
            assert self.vote(stage, name, self.stranger) is not Vote.ALLOW

    def test_vote_abstains_for_other_channels(self, stage: Stage) -> None:
        assert self.vote(stage, f"not-{stage.channel.name}", self.sender) is None

    # With a host

    def test_answer_returns_to_its_room_through_a_host(
        self, tmp_path: Path, stage: Stage, settings: Mapping[str, Any], platform: Platform
    ) -> None:
        instance, name = make_instance(tmp_path / "home"), stage.channel.name
        instance.configure(name, **settings)
        instance.wire(channel=name, room=self.room)

        async def scenario() -> None:
            async with running_host(instance, environment=stage.environment, **{name: stage.plugin}):
                await platform.open(instance.paths.home)
                try:
                    await platform.say("hello", thread=self.thread)
                    assert [shown.text for shown in await platform.shown(1)] == ["echo: hello"]
                finally:
                    await platform.close()

        patiently(scenario())
        instance.db.close()

    def address(self, stage: Stage) -> Address:
        """Return the address of the assistant's answers: the room and the thread of the contract."""
        return Address(stage.channel.name, self.room, self.thread)

    def shown_of(self, stage: Stage, platform: Platform, message: Outbound) -> list[Shown]:
        """Deliver a message and an end mark, and return the messages that are shown before the mark."""

        async def scenario() -> list[Shown]:
            async with both(stage, platform):
                await stage.adapter.deliver(self.address(stage), message)
                await stage.adapter.deliver(self.address(stage), Outbound(idempotency_key="k-end", text="the end"))
                count = 2
                while (messages := list(await platform.shown(count)))[-1].text != "the end":
                    count = len(messages) + 1
                return messages[:-1]

        return patiently(scenario())

    def vote(self, stage: Stage, channel: str, sender: str | None) -> Vote | None:
        """Return the plugin's vote on a sender of a channel."""
        ask = getattr(stage.plugin, "nanoclaw_admit_message", lambda _admission: None)
        user_id = None if sender is None else UserId(f"{channel}:{sender}")
        verdict = ask(
            Admission(
                address=Address(channel, self.room, self.thread),
                user_id=user_id,
                sender_name="Ada",
                agent_group_id=GroupId("ag-000000000001"),
                wiring_id=WiringId("wir-000000000001"),
                is_group=False,
                engaged=True,
            )
        )
        return None if verdict is None else verdict.vote


@asynccontextmanager
async def both(stage: Stage, platform: Platform) -> AsyncIterator[None]:
    """Keep the channel listening and the platform open until the block ends."""
    async with stage.listening():
        await platform.open(stage.home)
        try:
            yield
        finally:
            await platform.close()


def whole(pieces: list[Shown]) -> str:
    """Return the text of a message that may be shown in pieces."""
    return "".join(piece.text for piece in pieces)


def patiently(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario, with a limit of time."""

    async def run_limited() -> T:
        async with asyncio.timeout(2 * WAIT_S):
            return await scenario

    return asyncio.run(run_limited())
