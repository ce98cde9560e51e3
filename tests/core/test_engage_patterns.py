"""Engage patterns: neither a slow pattern nor an attacker's text stops the host (audit S3)."""

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pattern_attack
import pytest
from nanoclaw_cli.checks import run_checks

from nanoclaw_core import Admission, InvalidArguments, Outcome, Verdict, check_pattern, hookimpl
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel

BROKEN = "(not closed"


class Observer(RecorderChannel):
    """A channel that records the admissions that it votes on."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.admissions: list[Admission] = []

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
        self.admissions.append(admission)
        return super().nanoclaw_admit_message(admission)


def wire(instance: Instance, pattern: str, **more: Any) -> str:
    return instance.wire(engage_mode=EngageMode.PATTERN, engage_pattern=pattern, **more).id


def wire_unchecked(instance: Instance, pattern: str) -> str:
    wiring_id = wire(instance, "^hi")
    instance.db.execute("UPDATE wirings SET engage_pattern = ?", (pattern,))
    return wiring_id


def outcomes(
    instance: Instance, *texts: str, channel: RecorderChannel | None = None, sender: str = "ada"
) -> list[Outcome]:
    async def scenario() -> list[Outcome]:
        async with running_host(instance, channel=channel) as running:
            return [(await running.channel.say(text, sender=sender)).outcome for text in texts]

    return asyncio.run(scenario())


def named_by_doctor(instance: Instance) -> dict[str, str]:
    findings = asyncio.run(run_checks(instance.paths.home, {}))
    return {finding.name: f"{finding.detail}. {finding.remedy}" for finding in findings if finding.area == "wirings"}


def dropped(instance: Instance) -> list[tuple[str, str, int]]:
    return list(instance.db.execute("SELECT sender, reason, count FROM dropped_messages"))


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the report of an attack on a slow pattern.

    A match without a time limit kills the process.
    """
    script, home = Path(pattern_attack.__file__), tmp_path_factory.mktemp("attack") / "home"
    done = subprocess.run([sys.executable, script, home], capture_output=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.invariant(number=14)
@pytest.mark.parametrize(
    "pattern",
    ["(?:a{1000}){1000}", "(?:(?:a?){2000}){2000}", "(?:(?:.{9999}){9999}){9999}", "a{ 99999}", "(?:x{10,}y){999}z{9}"],
)
def test_pattern_that_repeats_too_much_is_refused(pattern: str) -> None:
    """The engine expands repetitions: 17 characters took 274 MB.

    An agent may request a pattern.
    """
    with pytest.raises(InvalidArguments, match="engage_pattern: it has too many repetitions"):
        check_pattern("pattern", pattern)


@pytest.mark.parametrize("pattern", [r"^\d{4}-\d{2}-\d{2}$", r"(?:[a-z]{2,5} ){3}", ".{500,}", r"\{1}", "a{0,9}"])
def test_pattern_with_usual_repetitions_is_accepted(pattern: str) -> None:
    """Dates, codes and lengths are below the limit."""
    check_pattern("pattern", pattern)


@pytest.mark.parametrize("message", ["27 letters", "attack", "flood"])
def test_slow_pattern_timed_out_does_not_engage(attack: dict[str, Any], message: str) -> None:
    """A text made for `^(a+)+$` neither stops the host nor reaches the agent."""
    assert attack["outcomes"][message] == "ignored"


def test_slow_pattern_after_timeouts_still_engages(attack: dict[str, Any]) -> None:
    """After a flood of timeouts, a normal message that matches is answered."""
    assert (attack["outcomes"]["fitting"], attack["answers"]) == ("routed", ["echo: aaa"])


def test_slow_pattern_timed_out_is_named_by_doctor(attack: dict[str, Any]) -> None:
    """The doctor names the wiring and its pattern, also after the host has stopped."""
    detail = "the engage pattern '^(a+)+$' exceeded its time limit of 50 ms"
    assert attack["named"] == {attack["wiring"]: detail}


def test_refused_sender_is_not_matched(attack: dict[str, Any]) -> None:
    """The text of a stranger would time out, but it is not matched."""
    assert (attack["outcomes"]["stranger"], attack["named after the stranger"]) == ("dropped", {})


@pytest.mark.parametrize("text", ["hi agent", "by the way"])
def test_vote_comes_before_the_pattern_match(bare_instance: Instance, text: str) -> None:
    """The vote sees each message.

    `engaged` is None because the pattern is not matched yet.
    """
    wire(bare_instance, "^hi")
    channel = Observer()
    outcomes(bare_instance, text, channel=channel)
    assert [admission.engaged for admission in channel.admissions] == [None]


def test_vote_with_match_all_pattern_knows_the_outcome(bare_instance: Instance) -> None:
    """The pattern `.` needs no match, so `engaged` is True."""
    wire(bare_instance, ".")
    channel = Observer()
    outcomes(bare_instance, "hi", channel=channel)
    assert [admission.engaged for admission in channel.admissions] == [True]


@pytest.mark.parametrize("text", ["hi agent", "by the way"])
def test_refused_sender_with_a_pattern_is_recorded(bare_instance: Instance, text: str) -> None:
    """The text of a stranger is not matched, so each refusal is recorded with its reason."""
    wire(bare_instance, "^hi")
    assert outcomes(bare_instance, text, channel=RecorderChannel(refused=["eve"]), sender="eve") == [Outcome.DROPPED]
    assert dropped(bare_instance) == [("eve", "a stranger", 1)]


@pytest.mark.defect(number=5)
def test_refused_sender_with_accumulate_stores_nothing(bare_instance: Instance) -> None:
    """The text of a stranger is not stored as context either."""
    wire(bare_instance, "^hi", ignored_policy=IgnoredPolicy.ACCUMULATE)
    assert outcomes(bare_instance, "hm", channel=RecorderChannel(refused=["eve"]), sender="eve") == [Outcome.DROPPED]
    assert bare_instance.sessions() == []


def test_pattern_without_match_follows_ignored_policy(bare_instance: Instance) -> None:
    """The ignored policy applies to an admitted message that does not match."""
    wire(bare_instance, "^hi", ignored_policy=IgnoredPolicy.ACCUMULATE)
    assert outcomes(bare_instance, "hm", "hi") == [Outcome.ACCUMULATED, Outcome.ROUTED]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"^(?!.*\bbot\b)hi", "hi there"), (r"\bёлка\b", "где ёлка?"), (r"(['\"]).*\1", "say 'hi'"), (r"hi\Z", "oh hi")],
    ids=["lookahead", "word of another script", "back-reference", "end"],
)
def test_pattern_in_re_dialect_engages(bare_instance: Instance, pattern: str, text: str) -> None:
    """Patterns written for Python's `re` keep their meaning."""
    wire(bare_instance, pattern)
    assert outcomes(bare_instance, text) == [Outcome.ROUTED]


@pytest.mark.parametrize(("before", "outcome"), [(9_998, Outcome.ROUTED), (9_999, Outcome.IGNORED)])
def test_pattern_sees_the_first_10000_characters(bare_instance: Instance, before: int, outcome: Outcome) -> None:
    """The cost of a search does not depend on the length of the text."""
    wire(bare_instance, "hi")
    assert outcomes(bare_instance, "x" * before + "hi") == [outcome]


def test_check_pattern_with_a_long_pattern_is_refused() -> None:
    """The cost of compiling grows with the length of the pattern."""
    check_pattern("pattern", "x" * 500)
    with pytest.raises(InvalidArguments) as caught:
        check_pattern("pattern", "x" * 501)
    assert str(caught.value) == ("engage_pattern: it is longer than 500 characters, got 501 characters. Shorten it.")


@pytest.mark.invariant(number=8)
@pytest.mark.parametrize("pattern", [BROKEN, "", "x" * 501])
def test_unusable_pattern_engages_no_agent(bare_instance: Instance, pattern: str) -> None:
    """A pattern that was stored without `check_pattern` matches no text."""
    wire_unchecked(bare_instance, pattern)
    assert outcomes(bare_instance, "x" * 600) == [Outcome.IGNORED]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (BROKEN, "is not a regular expression: missing )"),
        ("", "is empty"),
        ("x" * 501, "is longer than 500 characters"),
    ],
)
def test_unusable_pattern_is_named_by_doctor(bare_instance: Instance, pattern: str, reason: str) -> None:
    """The doctor names the wiring, its pattern, the reason and the remedy."""
    wiring_id = wire_unchecked(bare_instance, pattern)
    (name, said), *others = named_by_doctor(bare_instance).items()
    assert (name, others) == (wiring_id, [])
    assert f"{pattern[:80]!r} {reason}" in said
    assert f"wirings update {wiring_id} --engage-pattern" in said


def test_unusable_pattern_is_logged_once_at_the_start(
    bare_instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    """Later messages do not repeat the warning."""
    wiring_id = wire_unchecked(bare_instance, BROKEN)
    with caplog.at_level(logging.WARNING):
        outcomes(bare_instance, "one", "two")
    assert [(record.message, vars(record)["wiring"]) for record in caplog.records] == [
        ("engage pattern does not work", wiring_id)
    ]


def test_changed_pattern_is_no_longer_named_by_doctor(bare_instance: Instance) -> None:
    """A timeout is recorded per pattern, so a new pattern of the wiring has none."""
    wire(bare_instance, pattern_attack.PATTERN)
    bare_instance.db.execute(
        "INSERT INTO pattern_timeouts SELECT id, engage_pattern, '2026-01-02T03:04:05.678Z' FROM wirings"
    )
    assert len(named_by_doctor(bare_instance)) == 1
    bare_instance.db.execute("UPDATE wirings SET engage_pattern = '^a+$'")
    assert named_by_doctor(bare_instance) == {}


def test_doctor_before_the_upgrade_names_patterns(bare_instance: Instance) -> None:
    """The database of an older version has no table of timeouts yet."""
    wiring_id = wire_unchecked(bare_instance, BROKEN)
    bare_instance.db.execute("DROP TABLE pattern_timeouts")
    assert list(named_by_doctor(bare_instance)) == [wiring_id]


def test_usual_patterns_are_not_named_by_doctor(bare_instance: Instance) -> None:
    """A healthy instance has no finding in the area `wirings`."""
    wire(bare_instance, "^hi", folder="one")
    wire(bare_instance, ".", folder="two")
    assert [
        finding for finding in asyncio.run(run_checks(bare_instance.paths.home, {})) if finding.area == "wirings"
    ] == []
