"""What every channel must do, as tests. Inherit, say how the platform is played, and pytest runs them on it:

    class Ntfy(Platform):                       # from nanoclaw_core.testing.channel_stage
        def __init__(self, server):
            self.server = server

        async def say(self, text, *, thread=None):
            self.server.say("kitchen", text)

        async def shown(self, count):
            return [Shown(text=one) for one in await asyncio.to_thread(self.server.answers, count)]

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

What a channel cannot do is said by a class attribute, and then a test asserts that it says so honestly.
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
    """Inherit from it; see the module's text.

    Attributes:
        plugin: The module that offers the channel, by name, or the plugin object itself.
        room: The platform's id of the room in which `Platform.say` speaks.
        sender: The platform's id of the person who speaks there; None where the platform cannot say who wrote.
        thread: A thread of the room, for channels that have threads.
        refused_room: A room that the platform will never take a message for; None where there is none.
        stranger: A sender whom the plugin does not let in by itself; None where it lets everybody in.
        admits: False for a channel that leaves it to other plugins who may write.
        takes_files: False where the platform takes no files; they are then refused for good.
        drops_repeats: True where a second attempt with the same idempotency key shows nothing twice.
        offers_again: False where the platform offers a message only once; its sender then has to be told.
        long_text: How many characters a text has that must still arrive whole.
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
        """The platform's side; to be overridden."""
        raise NotImplementedError("override the fixture `platform`: it says how the platform is played")

    @pytest.fixture
    def settings(self, platform: Platform) -> Mapping[str, Any]:
        """The plugin's settings, as they would stand in nanoclaw.toml."""
        return {}

    @pytest.fixture
    def environment(self) -> Mapping[str, str]:
        """The host's environment."""
        return {}

    @pytest.fixture
    def stage(
        self, tmp_path: Path, settings: Mapping[str, Any], environment: Mapping[str, str], platform: Platform
    ) -> Iterator[Stage]:
        """The channel, connected, with the test in the place of the core."""
        made = Stage(tmp_path / "stage", self.plugin, settings, environment)
        yield made
        made.close()

    # What it offers

    def test_asking_what_it_offers_does_nothing_and_can_be_repeated(self, stage: Stage) -> None:
        (again,) = stage.plugin.nanoclaw_channels()
        assert (again.name, again.has_threads, again.settings) == (
            stage.channel.name,
            stage.channel.has_threads,
            stage.channel.settings,
        )

    def test_it_has_threads_where_the_contract_names_one(self, stage: Stage) -> None:
        assert stage.channel.has_threads == (self.thread is not None)

    # What people say

    def test_what_a_person_says_reaches_the_core(self, stage: Stage, platform: Platform) -> None:
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
    def test_a_text_arrives_as_it_was_written(self, stage: Stage, platform: Platform, text: str) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                await platform.say(text)
                assert [one.text for one in await stage.arrived(1)] == [text]

        patiently(scenario())

    def test_messages_arrive_in_their_order_and_each_has_an_id_of_its_own(
        self, stage: Stage, platform: Platform
    ) -> None:
        texts = [f"message {number}" for number in range(10)]

        async def scenario() -> None:
            async with both(stage, platform):
                for text in texts:
                    await platform.say(text)
                found = await stage.arrived(len(texts))
                assert [one.text for one in found] == texts
                ids = [one.message_id for one in found if one.message_id is not None]
                assert len(set(ids)) == len(ids)

        patiently(scenario())

    def test_a_message_that_could_not_be_stored_is_not_lost(self, stage: Stage, platform: Platform) -> None:
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
    def test_it_goes_on_whatever_becomes_of_a_message(self, stage: Stage, platform: Platform, outcome: Outcome) -> None:
        stage.outcome = outcome

        async def scenario() -> None:
            async with both(stage, platform):
                for count in (1, 2):
                    await platform.say(f"message {count}")
                    await stage.arrived(count)
            assert stage.failures == []

        patiently(scenario())

    def test_a_cancel_ends_listening_and_it_can_listen_again(self, stage: Stage, platform: Platform) -> None:
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

    # What the assistant says

    def test_a_text_is_shown_and_an_id_or_nothing_comes_back(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                found = await stage.adapter.deliver(self.address(stage), Outbound(idempotency_key="k-1", text="soup"))
                assert found is None or (isinstance(found, str) and found)
                assert await platform.shown(1) == [Shown(text="soup")]

        patiently(scenario())

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_a_text_is_shown_as_the_assistant_wrote_it(self, stage: Stage, platform: Platform, text: str) -> None:
        assert whole(self.shown_of(stage, platform, Outbound(idempotency_key="k-1", text=text))) == text

    def test_a_long_text_is_shown_whole_and_in_order(self, stage: Stage, platform: Platform) -> None:
        text = " ".join(str(number) for number in range(self.long_text))[: self.long_text].strip()
        found = self.shown_of(stage, platform, Outbound(idempotency_key="k-1", text=text))
        assert whole(found).split() == text.split()

    def test_files_are_shown_by_their_names_or_refused_for_good(self, stage: Stage, platform: Platform) -> None:
        names = ("menu für heute.txt", "b.bin")
        message = Outbound(
            idempotency_key="k-1", text="here", files=[OutboundFile(name=name, content=b"\x00\xff") for name in names]
        )
        if not self.takes_files:
            with pytest.raises(DeliveryRefused):
                self.shown_of(stage, platform, message)
            return
        found = self.shown_of(stage, platform, message)
        assert [name for one in found for name in one.files] == list(names)
        assert any("here" in one.text for one in found)

    @pytest.mark.parametrize("what", RARE)
    def test_a_rare_kind_of_message_is_taken_or_refused_for_good(
        self, stage: Stage, platform: Platform, what: str
    ) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                with contextlib.suppress(DeliveryRefused):  # anything else would be tried again, for nothing
                    await stage.adapter.deliver(self.address(stage), Outbound(idempotency_key="k-1", **RARE[what]))

        patiently(scenario())

    def test_a_room_that_the_platform_refuses_is_refused_for_good(self, stage: Stage, platform: Platform) -> None:
        if self.refused_room is None:
            pytest.skip("the platform takes a message for every room")
        address = Address(stage.channel.name, self.refused_room)

        async def scenario() -> None:
            async with both(stage, platform):
                with pytest.raises(DeliveryRefused):
                    await stage.adapter.deliver(address, Outbound(idempotency_key="k-1", text="hello"))

        patiently(scenario())

    def test_many_deliveries_at_once_all_arrive(self, stage: Stage, platform: Platform) -> None:
        texts = [f"message {number}" for number in range(10)]

        async def scenario() -> None:
            async with both(stage, platform):
                sending = [Outbound(idempotency_key=text, text=text) for text in texts]
                found = await asyncio.gather(*(stage.adapter.deliver(self.address(stage), one) for one in sending))
                assert len(set(found) - {None}) == len([one for one in found if one is not None])
                assert sorted(one.text for one in await platform.shown(len(texts))) == texts

        patiently(scenario())

    def test_a_second_attempt_with_the_same_key_is_shown_once_where_the_platform_can(
        self, stage: Stage, platform: Platform
    ) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                message = Outbound(idempotency_key="k-1", text="once")
                for one in (message, message, evolve(message, idempotency_key="k-2", text="last")):
                    await stage.adapter.deliver(self.address(stage), one)
                expected = ["once", "last"] if self.drops_repeats else ["once", "once", "last"]
                assert [one.text for one in await platform.shown(len(expected))] == expected

        patiently(scenario())

    def test_hints_of_what_is_being_done_are_taken(self, stage: Stage, platform: Platform) -> None:
        async def scenario() -> None:
            async with both(stage, platform):
                if isinstance(stage.adapter, ShowsTyping):
                    await stage.adapter.show_typing(self.address(stage))
                if isinstance(stage.adapter, ShowsStatus):
                    await stage.adapter.show_status(self.address(stage), "starting a sandbox")
                    await stage.adapter.show_status(self.address(stage), "")

        patiently(scenario())

    # Who may speak

    def test_the_vote_lets_in_the_channels_own_people_and_no_strangers(self, stage: Stage) -> None:
        name = stage.channel.name
        assert self.vote(stage, name, self.sender) is (Vote.ALLOW if self.admits else None)
        if self.stranger is not None:
            assert self.vote(stage, name, self.stranger) is not Vote.ALLOW

    def test_the_vote_says_nothing_of_other_channels(self, stage: Stage) -> None:
        assert self.vote(stage, f"not-{stage.channel.name}", self.sender) is None

    # All together

    def test_a_conversation_goes_through_a_host_and_back_to_where_it_came_from(
        self, tmp_path: Path, stage: Stage, settings: Mapping[str, Any], platform: Platform
    ) -> None:
        instance, name = make_instance(tmp_path / "home"), stage.channel.name
        instance.configure(name, **settings)
        instance.wire(channel=name, room=self.room)

        async def scenario() -> None:
            async with running_host(instance, environment=stage.environment, **{name: stage.plugin}):
                await platform.open(instance.places.home)
                try:
                    await platform.say("hello", thread=self.thread)
                    assert [one.text for one in await platform.shown(1)] == ["echo: hello"]
                finally:
                    await platform.close()

        patiently(scenario())
        instance.db.close()

    def address(self, stage: Stage) -> Address:
        """Return where the assistant answers: the room and the thread that people speak in."""
        return Address(stage.channel.name, self.room, self.thread)

    def shown_of(self, stage: Stage, platform: Platform, message: Outbound) -> list[Shown]:
        """Deliver a message and one that ends it; return what is shown of the first."""

        async def scenario() -> list[Shown]:
            async with both(stage, platform):
                await stage.adapter.deliver(self.address(stage), message)
                await stage.adapter.deliver(self.address(stage), Outbound(idempotency_key="k-end", text="the end"))
                count = 2
                while (found := list(await platform.shown(count)))[-1].text != "the end":
                    count = len(found) + 1
                return found[:-1]

        return patiently(scenario())

    def vote(self, stage: Stage, channel: str, sender: str | None) -> Vote | None:
        """Return how the plugin votes on a sender of a channel."""
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
    """Let the channel listen and the platform be open, until the block ends."""
    async with stage.listening():
        await platform.open(stage.home)
        try:
            yield
        finally:
            await platform.close()


def whole(found: list[Shown]) -> str:
    """Return the text of a message that may have been shown in pieces."""
    return "".join(one.text for one in found)


def patiently(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario to its end, but not for ever."""

    async def limited() -> T:
        async with asyncio.timeout(2 * WAIT_S):
            return await scenario

    return asyncio.run(limited())
