"""Whole conversations with the real `claude` program in real sandboxes, against a local stand-in for its API."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from nanoclaw_core import Host
from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.messages_script import Step
from nanoclaw_core.testing.recorder import RecorderChannel

KEY = "sk-ant-api03-this-must-stay-on-the-host"
PLACES = ["bubblewrap", "docker"]


@frozen(kw_only=True)
class Place:
    """Where sandboxes run: the name of the runtime, and the settings of the plugins."""

    runtime: str
    plugins: dict[str, dict[str, Any]]


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "bubblewrap":
        request.getfixturevalue("bubblewrap")
        return Place(runtime="process", plugins={})
    address = request.getfixturevalue("docker_address")
    image = request.getfixturevalue("claude_image")
    return Place(runtime="docker", plugins={"docker": {"docker_host": address, "image": image}})


@pytest.fixture
def instance(tmp_path: Path, place: Place) -> Iterator[Instance]:
    made = make_instance(
        tmp_path / "home", provider="claude", runtime=place.runtime, disabled_plugins=["terminal"], timezone="UTC"
    )
    made = evolve(made, settings=evolve(made.settings, plugins=place.plugins))
    made.wire()
    yield made
    made.db.close()


def a_host(instance: Instance, channel: RecorderChannel, api: FakeMessagesApi) -> Host:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": api.url,
    }
    return Host(instance.settings, plugins={"recorder": channel}, environment=environment)


def said(name: str, text: str) -> str:
    return f'<message to="{name}">{text}</message>'


def test_a_conversation_goes_on_where_it_was_after_a_restart_of_the_host(instance: Instance) -> None:
    async def some_turns(api: FakeMessagesApi, words: list[str]) -> list[str]:
        channel = RecorderChannel()
        async with a_host(instance, channel, api):
            for count, word in enumerate(words, 1):
                await channel.say(word, sender_name="Ada")
                await channel.texts(count)
        return [one.message.text for one in channel.delivered]

    async def scenario() -> None:
        async with FakeMessagesApi(key=KEY) as api:
            first = await some_turns(api, ["alpha", "beta", "gamma"])
            second = await some_turns(api, ["delta", "epsilon"])
            last = api.conversations[-1]
        assert ["alpha" in first[0], "gamma" in first[2], "delta" in second[0], "epsilon" in second[1]] == [True] * 4
        assert [last.says(word) for word in ("alpha", "beta", "gamma", "delta", "epsilon")] == [True] * 5

    asyncio.run(scenario())


def test_the_key_is_nowhere_in_the_sandbox_and_nothing_but_the_gateway_can_be_reached(instance: Instance) -> None:
    look = (  # the pattern does not match itself, because the command stands in /proc, too
        "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; "
        "grep -rIl 'must-stay-on-the-hos[t]' /workspace /tmp /home /etc /run 2>/dev/null; echo looked; "
        "reach() { (exec 3<>/dev/tcp/$1/$2) 2>/dev/null && echo $1 reached || echo $1 refused; }; "
        "reach 127.0.0.1 API_PORT; reach 192.0.2.1 80"
    )

    async def scenario() -> None:
        async with FakeMessagesApi(key=KEY) as api:
            command = look.replace("API_PORT", api.url.rpartition(":")[2])
            api.script.add(Step(tool="Bash", input={"command": command}), Step(text=said("recorder", "done")))
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("look around")
                assert await channel.texts(1) == ["done"]
            answer = str(api.conversations[-1].body["messages"][-1])
            assert {request.headers["x-api-key"] for request in api.conversations} == {KEY}
        assert "looked" in answer
        assert "127.0.0.1 refused" in answer
        assert "192.0.2.1 refused" in answer
        assert KEY not in answer

    asyncio.run(scenario())


def test_every_call_is_recorded_with_its_model_and_tokens(instance: Instance) -> None:
    async def scenario() -> None:
        async with FakeMessagesApi([Step(text=said("recorder", "hello"), input_tokens=123)], key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("hi")
                await channel.texts(1)

    asyncio.run(scenario())
    query = "SELECT upstream, status, input_tokens, model IS NOT NULL FROM gateway_calls WHERE path LIKE '%/messages'"
    assert ("anthropic", 200, 123, 1) in instance.db.execute(query).fetchall()


def test_a_tool_of_the_runner_sends_a_message_in_the_middle_of_a_turn(instance: Instance) -> None:
    async def scenario() -> list[str]:
        steps = [
            Step(tool="mcp__nanoclaw__send_message", input={"text": "on my way"}),
            Step(text=said("recorder", "arrived")),
        ]
        async with FakeMessagesApi(steps, key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("come")
                return await channel.texts(2)

    assert asyncio.run(scenario()) == ["on my way", "arrived"]


def test_an_agent_asks_the_host_with_ncl(instance: Instance) -> None:
    command = "ncl sessions list --json; echo ended with $?; ncl serve; echo ended with $?"

    async def scenario() -> str:
        steps = [Step(tool="Bash", input={"command": command}), Step(text=said("recorder", "done"))]
        async with FakeMessagesApi(steps, key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("look around")
                assert await channel.texts(1) == ["done"]
            return api.conversations[-1].last_said

    first, second, rest = asyncio.run(scenario()).split("ended with ")
    (session,) = instance.sessions()
    assert [row["id"] for row in json.loads(first)["data"]] == [session.id]
    assert second == "0\nerror (unknown-command): there is no command 'serve'; `ncl help` lists what there is.\n"
    assert rest.strip() == "2"


def test_invariant_12_a_refused_key_is_told_in_plain_words_with_a_reference(instance: Instance) -> None:
    async def scenario() -> tuple[str, str]:
        async with FakeMessagesApi(key="another key") as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                receipt = await channel.say("hi")
                (text,) = await channel.texts(1)
                return text, receipt.correlation_id

    text, correlation_id = asyncio.run(scenario())
    assert correlation_id in text
    assert "authentication_error" not in text
    assert KEY not in text
    [details] = instance.settings.home.glob("sessions/*/out/runner.log")
    assert any(correlation_id in line and "authentication" in line for line in details.read_text().splitlines())


def test_an_agent_changes_its_config_and_restarts_itself_when_a_human_agrees(instance: Instance) -> None:
    """It asks, a human agrees, it hears of that and restarts itself, and only the fresh one reads the note."""

    def asks(command: str, then: str) -> list[Step]:
        return [Step(tool="Bash", input={"command": command}), Step(text=said("recorder", then))]

    steps = [
        *asks("ncl groups config update --effort high; echo ended with $?", "asked for effort"),
        *asks("ncl groups restart --message 'Config updated.'; echo ended with $?", "asked for a restart"),
        Step(text=said("recorder", "fresh and well")),
    ]

    async def scenario() -> list[str]:
        async with FakeMessagesApi(steps, key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("work harder")
                await channel.texts(1)
                asked = api.conversations[-1].last_said
                assert all(word in asked for word in ("approval-pending", "ended with 1"))
                assert (await approve(instance))["outcome"]["data"]["effort"] == "high"
                await channel.texts(2)
                assert api.conversations[2].says("was approved and done")
                (session,) = instance.sessions()
                assert (await approve(instance))["outcome"]["data"]["restarted"] == [session.id]
                await channel.texts(3)
                config = json.loads((instance.settings.home / "sessions" / session.id / "in/config.json").read_text())
                assert config["effort"] == "high"
            return [one.last_said for one in api.conversations if "Config updated." in one.last_said]

    told = asyncio.run(scenario())
    assert len([one for one in told if "ncl groups restart" not in one]) == 1, told


async def approve(instance: Instance) -> dict[str, Any]:
    """Answer the one request that waits, as the operator does: with `ncl` on the host."""

    async def ncl(*words: str) -> Any:
        command = [sys.executable, "-m", "nanoclaw_cli", "--home", str(instance.settings.home), "--json", *words]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        frame = json.loads(out)
        assert process.returncode == 0, frame
        return frame["data"]

    (waiting,) = await ncl("approvals", "list", "--status", "pending")
    answered: dict[str, Any] = await ncl("approvals", "approve", waiting["id"])
    return answered
