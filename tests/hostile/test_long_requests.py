"""Long requests, words and names: each has a limit before anything looks at it (audit S5)."""

import asyncio
from typing import Any

import pytest
from hostile_sandbox import ATTACKER, answers, attacked_host
from nanoclaw_wire.content import MAX_REQUEST_CHARACTERS, Malformed, read_request
from nanoclaw_wire.outbound import OutKind
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_core.dispatch import MAX_ERROR_CHARACTERS
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=14)


def ncl(request_id: str, words: list[str], **options: Any) -> dict[str, object]:
    return {"action": "ncl", "request_id": request_id, "arguments": {"words": words, "options": options}}


def answers_to(instance: Instance, requests: list[dict[str, object]]) -> dict[str, str]:
    """Run an attacker that makes requests and a last one, and return the answers."""

    async def attack(runner: FakeRunner) -> None:
        for request in [*requests, ncl("last", ["status"])]:
            runner.write(request, kind=OutKind.ACTION)

    async def scenario() -> dict[str, str]:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: "last" in answers(host))
            await host.honest_answer("after")
            return answers(host)

    return asyncio.run(scenario())


def test_request_that_is_too_long_is_not_run(instance: Instance) -> None:
    found = answers_to(instance, [ncl("long", ["help"], resource="x" * MAX_REQUEST_CHARACTERS)])
    assert list(found) == ["last"]


@pytest.mark.parametrize(
    "request_frame",
    [
        ncl("r", ["help"], **{"x" * 201: "1"}),
        ncl("r", ["x" * 201]),
        ncl("r", ["x"] * 101),
        ncl("r", ["help"], **{f"o{number}": "1" for number in range(101)}),
    ],
    ids=["long option", "long word", "many words", "many options"],
)
def test_long_names_are_refused(instance: Instance, request_frame: dict[str, object]) -> None:
    assert "at most" in answers_to(instance, [request_frame])["r"]


def test_error_does_not_echo_a_long_value(instance: Instance) -> None:
    found = answers_to(instance, [ncl("r", ["help"], resource=["y" * 100_000, "z"])])
    assert len(found["r"]) < 2 * MAX_ERROR_CHARACTERS


@pytest.mark.parametrize("length", [MAX_REQUEST_CHARACTERS + 1, 8_000_000])
def test_long_request_is_not_parsed(length: int) -> None:
    with pytest.raises(Malformed, match=f"at most {MAX_REQUEST_CHARACTERS} characters"):
        read_request("[" * length)


def test_suggestion_compares_the_beginning_of_a_word() -> None:
    assert did_you_mean("group" + "s" * 200 + "x" * 7_000_000, ["groups"], "none") == "none"
