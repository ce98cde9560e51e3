"""Plugins: loading them, calling their hooks, and running their tasks, each behind an error boundary."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from installed import install

from nanoclaw_core import (
    Address,
    Admission,
    Channel,
    GroupId,
    Migration,
    PluginContext,
    PluginError,
    Provider,
    Verdict,
    Vote,
    WiringId,
    hookimpl,
)
from nanoclaw_core.plugins import Plugins, Report, State, find_installed
from nanoclaw_core.tasks import FIRST_PAUSE_S, LONGEST_PAUSE_S, run_forever

ADMISSION = Admission(
    address=Address("c", "r"),
    user_id=None,
    sender_name=None,
    agent_group_id=GroupId("ag-1"),
    wiring_id=WiringId("wir-1"),
    is_group=False,
    engaged=True,
)


def channel(name: str) -> Channel:
    def connect(_settings: object, _context: PluginContext) -> object:
        raise AssertionError("no test connects it")

    return Channel(name=name, connect=connect)  # type: ignore[arg-type]


class Offering:
    """A plugin that contributes channels."""

    def __init__(self, *names: str) -> None:
        self._names = names

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        return [channel(name) for name in self._names]


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


def with_plugins(**objects: object) -> Plugins:
    plugins = Plugins()
    for name, plugin in objects.items():
        plugins.add(plugin, name=name)
    return plugins


def report(plugins: Plugins, name: str) -> Report:
    return next(entry for entry in plugins.reports() if entry.name == name)


def admit(*answers: object) -> Verdict:
    plugins = with_plugins(**{f"voter{position}": Voting(answer) for position, answer in enumerate(answers)})
    return plugins.permits("nanoclaw_admit_message", admission=ADMISSION)


def load(disabled: Iterable[str] = ()) -> Plugins:
    plugins = Plugins()
    plugins.load_installed(frozenset(disabled))
    return plugins


# Load


def test_installed_plugin_is_loaded_with_its_distribution(site: Path) -> None:
    install(site, "acme-chat", "acme", "'''A plugin.'''")
    assert report(load(), "acme") == Report(name="acme", source="acme-chat 1.2", state=State.ACTIVE)


@pytest.mark.parametrize("source", ["import a_module_that_is_not_there", "1 / 0", "import sys; sys.exit('no')", "def"])
def test_plugin_with_an_import_error_fails_alone(site: Path, source: str) -> None:
    install(site, "acme-bad", "acme_bad", source, plugin="bad")
    install(site, "acme-good", "acme_good", "'''A plugin.'''", plugin="good")
    plugins = load()
    assert report(plugins, "bad").state is State.FAILED
    assert report(plugins, "bad").reason
    assert report(plugins, "good").state is State.ACTIVE


def test_plugin_with_an_unknown_hook_fails_alone(site: Path) -> None:
    hook = "from nanoclaw_core import hookimpl\n@hookimpl\ndef nanoclaw_chanels(): ..."
    install(site, "acme-bad", "acme_bad", hook, plugin="bad")
    install(site, "acme-good", "acme_good", "'''A plugin.'''", plugin="good")
    plugins = load()
    assert "nanoclaw_chanels" in report(plugins, "bad").reason
    assert report(plugins, "good").state is State.ACTIVE


def test_two_distributions_of_one_name_prevent_the_start(site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    with pytest.raises(PluginError, match=r"acme-one 1\.2 and acme-two 1\.2"):
        load()


def test_distribution_twice_on_the_path_counts_once(site: Path, tmp_path: Path) -> None:
    install(site, "acme-chat", "acme", "")
    install(tmp_path / "older", "Acme_Chat", "acme", "")
    sys.path += [str(site), str(tmp_path / "older")]
    assert [plugin.source for plugin in find_installed()] == ["acme-chat 1.2"]


def test_interrupted_installation_is_ignored(site: Path) -> None:
    install(site, "acme-chat", "acme", "")
    (site / "broken-1.0.dist-info").mkdir()
    broken = site / "worse-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_bytes(b"\xff\xfe\0")
    (broken / "entry_points.txt").write_text("[nanoclaw\nthis is = no = entry point")
    assert report(load(), "acme").state is State.ACTIVE


def test_disabled_plugin_is_not_imported(site: Path) -> None:
    install(site, "acme-chat", "acme", "raise SystemExit('imported')")
    assert report(load(["acme"]), "acme") == Report(name="acme", source="acme-chat 1.2", state=State.DISABLED)
    assert "acme" not in sys.modules


def test_disabled_name_covers_all_its_distributions(site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    assert report(load(["chat"]), "chat").state is State.DISABLED


def test_find_installed_imports_no_plugin(site: Path) -> None:
    install(site, "acme-chat", "acme", "raise SystemExit('imported')")
    program = f"""
import sys
sys.path.insert(0, {str(site)!r})
before = set(sys.modules)
from nanoclaw_core.plugins import find_installed
names = [plugin.name for plugin in find_installed()]
assert "acme" in names, names
ours = [name for name in sys.modules if name == "acme" or name.startswith("nanoclaw_") and name not in before]
print(sorted({{name.split(".")[0] for name in ours}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("['nanoclaw_core']", "['nanoclaw_core', 'nanoclaw_wire']")


def test_class_as_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="it is a class"):
        Plugins().add(Offering, name="acme")


def test_hook_wrapper_is_refused() -> None:
    class Wrapping:
        @hookimpl(wrapper=True)
        def nanoclaw_channels(self) -> Iterator[None]:
            return (yield)

    with pytest.raises(PluginError, match="nanoclaw_channels is a hook wrapper"):
        Plugins().add(Wrapping(), name="acme")


def test_hook_with_an_unknown_argument_is_refused() -> None:
    class Asking:
        @hookimpl
        def nanoclaw_channels(self, settings: object) -> None: ...

    with pytest.raises(PluginError, match="settings"):
        Plugins().add(Asking(), name="acme")


def test_plugin_with_a_raising_attribute_is_refused() -> None:
    class RaisingAttribute:
        @property
        def anything(self) -> None:
            raise ZeroDivisionError("not now")

    with pytest.raises(PluginError, match="not now"):
        Plugins().add(RaisingAttribute(), name="acme")


def test_refused_plugin_leaves_no_trace() -> None:
    class Misspelt(Offering):
        @hookimpl
        def nanoclaw_chanels(self) -> None: ...

    plugins = Plugins()
    with pytest.raises(PluginError, match="nanoclaw_chanels"):
        plugins.add(Misspelt("lost"), name="acme")
    plugins.add(Offering("kept"), name="acme")
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["kept"]


@pytest.mark.parametrize("name", ["", "Acme", "acme_chat", "1acme", "a" * 41, "a b", "acme\n"])
def test_plugin_name_must_be_one_lower_case_word(name: str) -> None:
    with pytest.raises(PluginError, match="lower-case"):
        Plugins().add(Offering(), name=name)


def test_second_plugin_of_one_name_is_refused() -> None:
    plugins = with_plugins(acme=Offering())
    with pytest.raises(PluginError, match="in process and in process"):
        plugins.add(Offering(), name="acme")


def test_require_names_a_failed_plugin_and_its_reason(site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "1 / 0", plugin="bad")
    with pytest.raises(PluginError, match=r"'bad' does not work \(ZeroDivisionError"):
        load().require(["bad"])


def test_require_names_a_missing_or_disabled_plugin(site: Path) -> None:
    install(site, "acme-chat", "acme", "")
    with pytest.raises(PluginError, match="'nowhere' is not installed"):
        load().require(["nowhere"])
    with pytest.raises(PluginError, match=r"'acme' does not work \(disabled"):
        load(["acme"]).require(["acme"])


# Call


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
    assert report(plugins, "bad").state is State.FAILED


@pytest.mark.parametrize("offered", [["text"], 7, [Provider(name="p", runs_tools=False)], [Channel]])
def test_wrong_descriptor_fails_only_its_plugin(offered: object) -> None:
    class Wrong:
        @hookimpl
        def nanoclaw_channels(self) -> object:
            return offered

    plugins = with_plugins(bad=Wrong(), good=Offering("a"))
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["a"]
    assert report(plugins, "bad").state is State.FAILED


def test_plugin_that_contributes_nothing_is_active() -> None:
    class Silent:
        @hookimpl
        def nanoclaw_channels(self) -> None: ...

    plugins = with_plugins(acme=Silent())
    assert plugins.collect("nanoclaw_channels", Channel) == {}
    assert report(plugins, "acme").state is State.ACTIVE


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


# Run


class Stopped(BaseException):
    """Ends `run_forever` from outside, as a cancellation does."""


async def run_until_stopped(outcomes: list[Exception | None]) -> tuple[list[float], list[Exception]]:
    """Run a task once per outcome; return the pauses between the runs and the reported failures."""
    pauses: list[float] = []
    failures: list[Exception] = []
    remaining = list(outcomes)

    async def part() -> None:
        if not remaining:
            raise Stopped
        outcome = remaining.pop(0)
        if outcome is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(Stopped):
        await run_forever("acme", "part", part, failed=failures.append, sleep=sleep)
    return pauses, failures


def test_failing_task_restarts_with_doubling_pauses() -> None:
    troubles: list[Exception | None] = [ZeroDivisionError(str(number)) for number in range(12)]
    pauses, failures = asyncio.run(run_until_stopped(troubles))
    assert pauses[:5] == [FIRST_PAUSE_S, 2.0, 4.0, 8.0, 16.0]
    assert pauses[-2:] == [LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert failures == troubles


def test_finished_task_is_restarted() -> None:
    assert asyncio.run(run_until_stopped([None, None])) == ([1.0, 2.0], [])


def test_failing_task_is_logged_once_per_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        asyncio.run(run_until_stopped([ZeroDivisionError(), ZeroDivisionError()]))
    assert [record.message for record in caplog.records] == ["part failed", "part failed"]


def test_cancelled_task_is_not_restarted() -> None:
    async def scenario() -> int:
        runs = 0
        started = asyncio.Event()

        async def part() -> None:
            nonlocal runs
            runs += 1
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(run_forever("acme", "part", part))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return runs

    assert asyncio.run(scenario()) == 1
