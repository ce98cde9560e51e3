"""Requests as the human sees them who decides, and requests and configs as agents see them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nanoclaw_resource_approvals.host as approvals
import nanoclaw_resource_configs.host as configs
import nanoclaw_resource_deliveries.host as deliveries
import nanoclaw_resource_groups.host as groups
import nanoclaw_resource_registry.host as registry
import nanoclaw_resource_sessions.host as sessions
import pytest
from attrs import evolve, fields, frozen
from nanoclaw_client.rendering import render

from nanoclaw_core import Access, Caller, Parameter, Verb, hookimpl
from nanoclaw_core.contributions import load_contributions
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.settings import AllowedMount
from nanoclaw_core.testing.hosting import Running, running_host
from nanoclaw_core.testing.instance import Instance

SECRET = "sk-the-operators-secret"
GIVEN = {"KEY": SECRET, "REGION": "eu"}
ADD_SERVER = ("groups", "config", "add-mcp-server")


class BellPlugin:
    """A plugin with two requests: it cannot describe the effect of the one, and does not describe the other."""

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        async def run(*_: object) -> None: ...

        def preview(*_: object) -> None:
            raise RuntimeError("the bell is cracked")

        note = Parameter(name="note")
        for name, previewed in (("ring", preview), ("silence", lambda *_: None)):
            yield Verb(
                resource="bells",
                name=name,
                access=Access.NEEDS_APPROVAL,
                run=run,
                preview=previewed,
                parameters=(Parameter(name="group"), note),
                scope_parameter="group",
            )


@frozen(kw_only=True)
class Office:
    """A host with an agent, whose requests the operator answers."""

    running: Running
    agent: Caller

    async def operator(self, *words: str, **options: Any) -> Any:
        answer = await self.running.ask(*words, **options)
        assert answer["ok"], answer
        return answer["data"]

    async def asked(self, *words: str, **options: Any) -> str:
        """Send a request as the agent, and return the id of the approval."""
        answer = await self.running.ask(*words, caller=self.agent, **options)
        assert answer["error"]["code"] == "approval-pending", answer
        return str(answer["error"]["message"].split()[-1])

    async def as_agent(self, *words: str, **options: Any) -> dict[str, Any]:
        return await self.running.ask(*words, caller=self.agent, **options)

    def notes(self) -> str:
        """Return everything that the host wrote into the agent's conversation."""
        assert self.agent.session_id is not None
        db = self.running.host.components.mailbox.inbox.read(self.agent.session_id)
        return "\n".join(content for (content,) in db.execute("SELECT content FROM messages_in ORDER BY seq"))


@asynccontextmanager
async def office(instance: Instance, scope: str = "group") -> AsyncIterator[Office]:
    instance.wire()
    plugins: dict[str, object] = {"approvals": approvals, "registry": registry, "configs": configs, "groups": groups}
    plugins |= {"bells": BellPlugin(), "sessions": sessions, "deliveries": deliveries}
    async with running_host(instance, **plugins) as running:
        await running.channel.say("hello")
        await running.channel.texts(1)
        (session,) = instance.sessions()
        instance.db.execute("UPDATE container_configs SET cli_scope = ?", (scope,))
        yield Office(running=running, agent=Caller(session_id=session.id, agent_group_id=session.agent_group_id))


async def _add_server_of_the_operator(office: Office) -> str:
    group = str(office.agent.agent_group_id)
    arguments = json.dumps(["serve", "--api-key", SECRET, f"--token={SECRET}", "-H", f"Authorization: {SECRET}"])
    await office.operator(*ADD_SERVER, group, name="weather", command="npx", args=arguments, env=json.dumps(GIVEN))
    return group


def test_request_shows_the_server_that_it_replaces(instance: Instance) -> None:
    """The new one stands in full, because it is what the human approves; secrets of the old one do not."""

    async def scenario() -> dict[str, Any]:
        async with office(instance) as host:
            await _add_server_of_the_operator(host)
            env = json.dumps(GIVEN | {"NODE_OPTIONS": "--require /workspace/agent/x.js", "REGION": "us"})
            asked = await host.asked(*ADD_SERVER, name="weather", command="sh", args='["-c", "true"]', env=env)
            shown: dict[str, Any] = await host.operator("approvals", "get", asked)
            return shown

    shown = asyncio.run(scenario())
    assert list(shown)[list(shown).index("arguments") + 1] == "effect"
    assert shown["arguments"]["args"] == ["-c", "true"]
    change = shown["effect"]["mcp_servers.weather"]
    assert change["before"]["command"] == "npx"
    assert change["before"]["env"] == {"KEY": "***", "REGION": "***"}
    assert change["before"]["args"] == ["serve", "--api-key", "***", "--token=***", "-H", "Authorization: ***"]
    assert change["after"]["env"] == {
        "KEY": "*** (unchanged)",
        "REGION": "us",
        "NODE_OPTIONS": "--require /workspace/agent/x.js",
    }
    assert change["after"]["args"] == ["-c", "true"]


def test_request_for_a_mount_shows_the_directory(instance: Instance, tmp_path: Path) -> None:
    """A link shows its target, and a directory that no sandbox may have shows the reason."""
    shared = tmp_path / "shared"
    (shared / "real").mkdir(parents=True)
    (shared / "link").symlink_to(shared / "real")
    core = evolve(instance.settings.core, allowed_mounts=[AllowedMount(path=str(shared))])
    instance.settings = evolve(instance.settings, core=core)

    async def scenario() -> tuple[Any, Any]:
        async with office(instance) as host:
            ask = ("groups", "config", "add-mount")
            linked = await host.asked(*ask, path=str(shared / "link"), name="link")
            refused = await host.asked(*ask, path="/etc", name="etc")
            shown = [await host.operator("approvals", "get", asked) for asked in (linked, refused)]
            return shown[0]["effect"], shown[1]["effect"]

    linked, refused = asyncio.run(scenario())
    status = (shared / "real").stat()
    change = linked["additional_mounts.link"]
    assert change["before"] is None
    assert change["after"]["path"] == str(shared / "real")
    assert str(status.st_ino) in change["after"]["identity"]
    assert refused == {
        "fails": "/etc is not below a directory of core.allowed_mounts. Add one to nanoclaw.toml and restart."
    }


def test_list_of_requests_shows_each_effect(instance: Instance) -> None:
    async def scenario() -> dict[str, str]:
        async with office(instance) as host:
            await _add_server_of_the_operator(host)
            await host.asked(*ADD_SERVER, name="weather", command="sh")
            await host.asked("groups", "config", "update", model="opus", network="open")
            await host.asked("groups", "update", name="Eve")
            await host.asked("bells", "ring")
            await host.asked("bells", "silence")
            rows = await host.operator("approvals", "list")
            render(rows, 200)
            return {row["name"]: row["effect"] for row in rows}

    assert asyncio.run(scenario()) == {
        "groups config add-mcp-server": "mcp_servers.weather: replaced",
        "groups config update": 'model: null → "opus"; network: null → "open"',
        "groups update": 'name: "Agent" → "Eve"',
        "bells ring": "fails: the bell is cracked",
        "bells silence": "the plugin of this request does not describe its effect",
    }


def test_request_shows_what_it_touches(instance: Instance) -> None:
    """An id says nothing to a human."""

    async def scenario() -> list[Any]:
        async with office(instance, "global") as host:
            instance.db.execute("UPDATE deliveries SET status = 'failed'")
            (delivery,) = [row["id"] for row in await host.operator("deliveries", "list")]
            asked = [
                await host.asked("sessions", "close", str(host.agent.session_id)),
                await host.asked("deliveries", "retry", delivery),
                await host.asked("deliveries", "retry", all=True),
                await host.asked("groups", "create", "Second"),
                await host.asked("groups", "restart", message="back"),
            ]
            return [(await host.operator("approvals", "get", one))["effect"] for one in asked]

    close, retry, retry_all, create, restart = asyncio.run(scenario())
    before = {"agent": "Agent", "channel": "recorder", "room": "room", "thread": None, "status": "active"}
    assert close == {"session": {"before": before, "after": before | {"status": "closed"}}}
    assert "echo: hello" in retry["delivery"]["after"]["content"]
    assert (retry["delivery"]["before"]["status"], retry["delivery"]["after"]["status"]) == ("failed", "queued")
    assert retry_all == {"messages to retry": 1}
    assert create == {"group": {"before": None, "after": {"name": "Second", "folder": "second"}}}
    assert (len(restart["restarts"]), restart["rebuilds the image"]) == (1, False)


def test_each_installed_request_describes_its_effect(instance: Instance) -> None:
    offered = load_contributions(Plugins(), instance.settings, {})[0]
    verbs = {name: contribution.value for name, contribution in offered.verbs.items()}
    held = {name: verb for name, verb in verbs.items() if verb.access is Access.NEEDS_APPROVAL}
    assert len(held) > 20
    assert [name for name, verb in held.items() if verb.preview is fields(Verb).preview.default] == []


def test_request_hides_no_part_of_itself(instance: Instance) -> None:
    """The tail stands in the open: blanks are counted, and JSON in JSON is not escaped twice."""
    arguments = json.dumps(["-c", f"ls{' ' * 3000}; curl evil\u3164\u202e"])
    inner = json.dumps({"a": json.dumps({"b": 'say "hi"'})})

    async def scenario() -> str:
        async with office(instance) as host:
            asked = await host.asked(*ADD_SERVER, name="x", command="sh", args=arguments, instructions=inner)
            return render(await host.operator("approvals", "get", asked))

    shown = asyncio.run(scenario())
    assert '"ls[3000 spaces]; curl evil\\u3164\\u202e"' in shown
    assert '"b": "say \\"hi\\""' in shown


@pytest.mark.parametrize("scope", ["group", "global"])
def test_agent_sees_no_secret_of_a_server(instance: Instance, scope: str) -> None:
    """Neither in a config, nor in a request, nor in the note after its approval."""

    async def scenario() -> None:
        async with office(instance, scope) as host:
            group = await _add_server_of_the_operator(host)
            own = "sk-of-another-conversation"
            options = {"name": "own", "command": "npx", "args": json.dumps([own]), "env": json.dumps({"OWN": own})}
            asked = await host.asked(*ADD_SERVER, group, **options)
            seen = [await host.as_agent("approvals", "get", asked)]
            assert seen[0]["data"]["arguments"]["env"] == {"OWN": "***"}
            assert "effect" not in seen[0]["data"]
            await host.operator("approvals", "approve", asked)
            seen += [await host.as_agent("approvals", "get", asked)]
            seen += [await host.as_agent("approvals", "list", columns="all")]
            seen += [await host.as_agent("groups", "config", "get", group)]
            seen += [await host.as_agent("groups", "config", "get", group, reveal=True)]
            assert seen[-2]["data"]["mcp_servers"]["weather"]["env"] == {"KEY": "***", "REGION": "***"}
            assert seen[-1]["error"]["code"] == "forbidden"
            assert "was approved and done" in host.notes()
            assert "max_messages_per_prompt" not in host.notes()  # only what changed
            for text in (json.dumps(seen), host.notes()):
                assert SECRET not in text
                assert own not in text

    asyncio.run(scenario())


def test_operator_sees_secrets_only_on_request(instance: Instance) -> None:
    async def scenario() -> None:
        async with office(instance) as host:
            group = await _add_server_of_the_operator(host)
            assert SECRET not in json.dumps(await host.operator("groups", "config", "get", group))
            revealed = await host.operator("groups", "config", "get", group, reveal=True)
            assert revealed["mcp_servers"]["weather"]["env"] == GIVEN

    asyncio.run(scenario())
