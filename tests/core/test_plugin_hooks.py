"""Calls of hooks: contributions, votes and notifications, each behind an error boundary."""

from collections.abc import Iterable, Iterator

import pytest
from plugin_objects import Offering, channel, report, with_plugins

from nanoclaw_core import (
    Address,
    Admission,
    Channel,
    GroupId,
    Migration,
    PluginError,
    Provider,
    Verdict,
    Vote,
    WiringId,
    hookimpl,
)
from nanoclaw_core.plugins import Plugins, PluginState

ADMISSION = Admission(
    address=Address("c", "r"),
    user_id=None,
    sender_name=None,
    agent_group_id=GroupId("ag-1"),
    wiring_id=WiringId("wir-1"),
    is_group=False,
    engaged=True,
)


class Voting:
    """A plugin that answers votes with a value, or raises it if it is an exception."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    @hookimpl
    def nanoclaw_permit_action(self, request: object) -> object:
        return self.nanoclaw_admit_message(ADMISSION)


def admit(*answers: object) -> Verdict:
    plugins = with_plugins(**{f"voter{position}": Voting(answer) for position, answer in enumerate(answers)})
    return plugins.permits("nanoclaw_admit_message", admission=ADMISSION)


def test_collect_returns_descriptors_by_name() -> None:
    plugins = with_plugins(one=Offering("a"), two=Offering("b", "c"))
    collected = plugins.collect("nanoclaw_channels", Channel)
    assert {name: offer.plugin for name, offer in collected.items()} == {"a": "one", "b": "two", "c": "two"}


def test_failing_collect_hook_fails_only_its_plugin() -> None:
    class Raising:
        @hookimpl
        def nanoclaw_channels(self) -> None:
            raise ZeroDivisionError("nothing to offer")

    plugins = with_plugins(bad=Raising(), good=Offering("a"))
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["a"]
    assert report(plugins, "bad").reason == "ZeroDivisionError: nothing to offer"


def test_failing_generator_contributes_nothing() -> None:
    class HalfWay:
        @hookimpl
        def nanoclaw_channels(self) -> Iterator[Channel]:
            yield channel("half")
            raise ZeroDivisionError

    plugins = with_plugins(bad=HalfWay(), good=Offering("a"))
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["a"]
    assert report(plugins, "bad").state is PluginState.FAILED


@pytest.mark.parametrize("offered", [["text"], 7, [Provider(name="p", runs_tools=False)], [Channel]])
def test_wrong_descriptor_fails_only_its_plugin(offered: object) -> None:
    class Wrong:
        @hookimpl
        def nanoclaw_channels(self) -> object:
            return offered

    plugins = with_plugins(bad=Wrong(), good=Offering("a"))
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["a"]
    assert report(plugins, "bad").state is PluginState.FAILED


def test_plugin_that_contributes_nothing_is_active() -> None:
    class Silent:
        @hookimpl
        def nanoclaw_channels(self) -> None: ...

    plugins = with_plugins(acme=Silent())
    assert plugins.collect("nanoclaw_channels", Channel) == {}
    assert report(plugins, "acme").state is PluginState.ACTIVE


def test_two_descriptors_of_one_name_prevent_the_start() -> None:
    plugins = Plugins()
    plugins.add(Offering("chat"), name="one", source="acme-one 1.0")
    plugins.add(Offering("chat"), name="two", source="acme-two 2.0")
    with pytest.raises(PluginError, match=r"'chat' is offered by both acme-one 1\.0 and acme-two 2\.0"):
        plugins.collect("nanoclaw_channels", Channel)


def test_collect_all_keeps_the_order_of_a_plugin() -> None:
    class Migrating:
        @hookimpl
        def nanoclaw_migrations(self) -> Iterable[Migration]:
            return [Migration(name=name, apply=lambda _db: None) for name in ("2", "1")]

    plugins = with_plugins(acme=Migrating(), other=Offering())
    collected = plugins.collect_all("nanoclaw_migrations", Migration)
    assert {name: [step.name for step in steps] for name, steps in collected.items()} == {"acme": ["2", "1"]}


@pytest.mark.invariant(number=8)
def test_vote_without_answers_denies() -> None:
    assert admit().vote is Vote.DENY
    assert admit(None, None).vote is Vote.DENY


def test_one_allow_among_abstentions_allows() -> None:
    assert admit(None, Verdict(Vote.ALLOW, "known"), None) == Verdict(Vote.ALLOW, "known")


@pytest.mark.invariant(number=8)
def test_one_denial_outweighs_all_approvals() -> None:
    allow = Verdict(Vote.ALLOW)
    assert admit(allow, Verdict(Vote.DENY, "banned"), allow) == Verdict(Vote.DENY, "banned")


def test_denial_without_a_reason_names_its_plugin() -> None:
    assert admit(Verdict(Vote.DENY)) == Verdict(Vote.DENY, "voter0 said no")


@pytest.mark.invariant(number=8)
@pytest.mark.parametrize("answer", [ZeroDivisionError(), True, "allow", Vote.ALLOW])
def test_failing_or_invalid_vote_denies(answer: object) -> None:
    verdict = admit(Verdict(Vote.ALLOW), answer)
    assert verdict == Verdict(Vote.DENY, "the plugin voter1 failed to vote")


def test_objection_is_the_first_denial_or_none() -> None:
    def objection(*answers: object) -> Verdict | None:
        plugins = with_plugins(**{f"voter{position}": Voting(answer) for position, answer in enumerate(answers)})
        return plugins.objection("nanoclaw_permit_action", request=None)

    assert objection() is None
    assert objection(None, Verdict(Vote.ALLOW)) is None
    assert objection(Verdict(Vote.ALLOW), Verdict(Vote.DENY, "no")) == Verdict(Vote.DENY, "no")
    assert objection(ZeroDivisionError()) == Verdict(Vote.DENY, "the plugin voter0 failed to vote")


def test_failing_notify_hook_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    class Listening:
        @hookimpl
        def nanoclaw_host_started(self) -> None:
            events.append("started")

    class Raising:
        @hookimpl
        def nanoclaw_host_started(self) -> None:
            raise ZeroDivisionError

    with_plugins(a=Raising(), b=Listening()).notify("nanoclaw_host_started")
    assert events == ["started"]
    assert [record.message for record in caplog.records] == ["notify hook failed"]
