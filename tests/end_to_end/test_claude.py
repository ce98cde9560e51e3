"""Conversations with the real `claude` program in real sandboxes, against a local fake of its API."""

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
    """A runtime for sandboxes: its name, and the settings of the plugins."""

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


def addressed(name: str, text: str) -> str:
    return f'<message to="{name}">{text}</message>'


def test_conversation_continues_after_a_host_restart(instance: Instance) -> None:
    async def some_turns(api: FakeMessagesApi, words: list[str]) -> list[str]:
        channel = RecorderChannel()
        async with a_host(instance, channel, api):
            for count, word in enumerate(words, 1):
                await channel.say(word, sender_name="Ada")
                await channel.texts(count)
        return [sent.message.text for sent in channel.delivered]

    async def scenario() -> None:
        async with FakeMessagesApi(key=KEY) as api:
            first = await some_turns(api, ["alpha", "beta", "gamma"])
            second = await some_turns(api, ["delta", "epsilon"])
            last = api.conversations[-1]
        assert ["alpha" in first[0], "gamma" in first[2], "delta" in second[0], "epsilon" in second[1]] == [True] * 4
        assert [last.says(word) for word in ("alpha", "beta", "gamma", "delta", "epsilon")] == [True] * 5

    asyncio.run(scenario())


def test_sandbox_has_no_key_and_reaches_only_the_gateway(instance: Instance) -> None:
    search = (  # /proc contains this command too, so the pattern must not match itself
        "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; "
        "grep -rIl 'must-stay-on-the-hos[t]' /workspace /tmp /home /etc /run 2>/dev/null; echo looked; "
        "reach() { (exec 3<>/dev/tcp/$1/$2) 2>/dev/null && echo $1 reached || echo $1 refused; }; "
        "reach 127.0.0.1 API_PORT; reach 192.0.2.1 80"
    )

    async def scenario() -> None:
        async with FakeMessagesApi(key=KEY) as api:
            command = search.replace("API_PORT", api.url.rpartition(":")[2])
            api.script.add(Step(tool="Bash", input={"command": command}), Step(text=addressed("recorder", "done")))
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


def test_call_is_recorded_with_model_and_tokens(instance: Instance) -> None:
    async def scenario() -> None:
        async with FakeMessagesApi([Step(text=addressed("recorder", "hello"), input_tokens=123)], key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("hi")
                await channel.texts(1)

    asyncio.run(scenario())
    query = "SELECT upstream, status, input_tokens, model IS NOT NULL FROM gateway_calls WHERE path LIKE '%/messages'"
    assert ("anthropic", 200, 123, 1) in instance.db.execute(query).fetchall()


def test_send_message_tool_sends_during_a_turn(instance: Instance) -> None:
    async def scenario() -> list[str]:
        steps = [
            Step(tool="mcp__nanoclaw__send_message", input={"text": "on my way"}),
            Step(text=addressed("recorder", "arrived")),
        ]
        async with FakeMessagesApi(steps, key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("come")
                return await channel.texts(2)

    assert asyncio.run(scenario()) == ["on my way", "arrived"]


def test_agent_asks_the_host_with_ncl(instance: Instance) -> None:
    command = "ncl sessions list --json; echo ended with $?; ncl serve; echo ended with $?"

    async def scenario() -> str:
        steps = [Step(tool="Bash", input={"command": command}), Step(text=addressed("recorder", "done"))]
        async with FakeMessagesApi(steps, key=KEY) as api:
            channel = RecorderChannel()
            async with a_host(instance, channel, api):
                await channel.say("look around")
                assert await channel.texts(1) == ["done"]
            return api.conversations[-1].last_said

    first, second, rest = asyncio.run(scenario()).split("ended with ")
    (session,) = instance.sessions()
    assert [row["id"] for row in json.loads(first)["data"]] == [session.id]
    assert second == "0\nerror (unknown-command): there is no command 'serve'. `ncl help` lists the commands.\n"
    assert rest.strip() == "2"


@pytest.mark.invariant(number=12)
def test_refused_key_is_reported_with_a_reference(instance: Instance) -> None:
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


def test_agent_restarts_itself_after_an_approval(instance: Instance) -> None:
    """It requests a change, a human approves, it restarts itself.

    Only the new runner reads its note.
    """

    def requests(command: str, then: str) -> list[Step]:
        return [Step(tool="Bash", input={"command": command}), Step(text=addressed("recorder", then))]

    steps = [
        *requests("ncl groups config update --effort high; echo ended with $?", "asked for effort"),
        *requests("ncl groups restart --message 'Config updated.'; echo ended with $?", "asked for a restart"),
        Step(text=addressed("recorder", "fresh and well")),
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
            return [request.last_said for request in api.conversations if "Config updated." in request.last_said]

    prompts = asyncio.run(scenario())
    assert len([prompt for prompt in prompts if "ncl groups restart" not in prompt]) == 1, prompts


async def approve(instance: Instance) -> dict[str, Any]:
    """Approve the one pending request as the operator does: with `ncl` on the host."""

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
