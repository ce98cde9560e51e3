"""Tests of the verbs `ncl groups config …` on a running host."""

from __future__ import annotations

from typing import Any

import pytest
from agents_host import Hosted, refused
from attrs import evolve
from nanoclaw_wire.config import read_config

from nanoclaw_core.testing.instance import Instance


def test_config_get_shows_values_and_fallbacks(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        await host.ncl.data("groups", "config", "update", group_id, model="opus", cpus=1.5)
        got = await host.ncl.data("groups", "config", "get", group_id)
        assert (got["model"], got["skills"], got["mcp_servers"], got["limits"]) == ("opus", "all", {}, {"cpus": 1.5})
        assert got["left_to"]["provider"] == "the session, else `provider` in nanoclaw.toml"
        assert "model" not in got["left_to"]
        assert {"memory_mb", "pids"} <= set(got["left_to"])
        assert "cpus" not in got["left_to"]

    run(scenario)


def test_unknown_group_gets_the_same_error_from_every_verb(run) -> None:
    async def scenario(host: Hosted, _group_id: str) -> None:
        wanted = [("get", {}), ("update", {"model": "m"}), ("add-mcp-server", {"name": "a", "command": "b"})]
        wanted += [("add-package", {"apt": "jq"}), ("set-skills", {"skills": "all"}), ("remove-mount", {"name": "x"})]
        for verb, options in wanted:
            answer = await host.ncl.refusal("groups", "config", verb, "ag-none", **options)
            assert answer == ("not-found", "groups: no agent group has the id 'ag-none'. `ncl groups list` shows them")
        assert (await host.ncl.refusal("groups", "restart", "ag-none"))[0] == "not-found"
        assert (await host.ncl.refusal("groups", "config", "get", "\ud800"))[0] == "invalid-args"

    run(scenario)


def test_update_stores_settings_and_null_resets_them(run) -> None:
    chosen: dict[str, Any] = {
        "provider": "scripted",
        "model": "claude-opus-4-5[1m]",
        "effort": "high",
        "image-tag": "registry.example:5000/agent:v1",
        "assistant-name": "Nano Ünü",
        "max-messages-per-prompt": "20",
        "network": "none",
        "runtime": "scripted",
        "memory-mb": 512,
        "cpus": "0.5",
        "pids": 64,
        "cli-scope": "global",
    }

    async def scenario(host: Hosted, group_id: str) -> None:
        fresh = host.config(group_id)
        changed = await host.ncl.data("groups", "config", "update", group_id, **chosen)
        assert changed["max_messages_per_prompt"] == 20
        assert changed["limits"] == {"memory_mb": 512, "cpus": 0.5, "pids": 64}
        assert (changed["cli_scope"], changed["image_tag"]) == ("global", "registry.example:5000/agent:v1")
        await host.ncl.data("groups", "config", "update", group_id, **dict.fromkeys(chosen))
        assert evolve(host.config(group_id), updated_at="") == evolve(fresh, updated_at="")

    run(scenario)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "no setting is given. Give at least one of --provider, --model, --effort"),
        ({"effort": "extreme"}, "--effort must be one of low, medium, high, xhigh, max, got 'extreme'"),
        ({"cli-scope": "all"}, "--cli-scope must be one of disabled, group, global"),
        ({"network": "host"}, "--network must be one of gateway, open, none"),
        ({"provider": "../x"}, "--provider must be an installed provider, got '../x'"),
        ({"runtime": ""}, "--runtime must be an installed runtime, got ''"),
        ({"model": "-p"}, "--model must be a model name"),
        ({"model": "two words"}, "--model must be a model name"),
        ({"model": True}, "--model must be a string"),
        ({"image-tag": "--privileged"}, "--image-tag must be an image name"),
        ({"assistant-name": "a\nb"}, "--assistant-name must be"),
        ({"assistant-name": "\ud800"}, "--assistant-name must be"),
        ({"max-messages-per-prompt": 0}, "must be an integer from 1 to 1000, got 0"),
        ({"max-messages-per-prompt": "many"}, "must be an integer, got 'many'"),
        ({"memory-mb": -1}, "--memory-mb must be an integer from 64"),
        ({"memory-mb": 10**30}, "--memory-mb must be an integer from 64"),
        ({"cpus": 0}, "--cpus must be a number from 0.01"),
        ({"cpus": "nan"}, "--cpus must be a number"),
        ({"pids": 1}, "--pids must be an integer from 16"),
        ({"limits": "{}"}, "unknown option --limits"),
        ({"mcp-servers": "{}"}, "unknown option --mcp-servers"),
        ({"packages-apt": '["x; rm -rf /"]'}, "unknown option --packages-apt"),
        ({"additional-mounts": "[]"}, "unknown option --additional-mounts"),
        ({"updated-at": "now"}, "unknown option --updated-at"),
        ({"model": "opus", "effort": "extreme"}, "--effort must be one of"),
    ],
)
def test_update_with_an_invalid_value_changes_nothing(run, options, says) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        assert says in await refused(host, group_id, "update", **options)

    run(scenario)


def test_mcp_server_is_added_replaced_and_removed(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        server = {"args": '["some-rss-mcp", "-v"]', "env": '{"K": "v"}', "instructions": "Reads feeds."}
        add = ("groups", "config", "add-mcp-server", group_id)
        first = await host.ncl.data(*add, name="rss", command="npx", **server)
        assert first["mcp_servers"]["rss"] == {
            "command": "npx",
            "args": ["some-rss-mcp", "-v"],
            "env": {"K": "***"},
            "instructions": "Reads feeds.",
        }
        assert host.config(group_id).mcp_servers["rss"]["env"] == {"K": "v"}
        second = await host.ncl.data(*add, name="rss", command="uvx")
        assert second["mcp_servers"] == {"rss": {"command": "uvx", "args": [], "env": {}, "instructions": None}}
        gone = await host.ncl.data("groups", "config", "remove-mcp-server", group_id, name="rss")
        assert gone["mcp_servers"] == {}
        assert "the config has no MCP server 'rss'" in await refused(host, group_id, "remove-mcp-server", name="rss")

    run(scenario)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "nanoclaw"}, "is reserved for the agent's own tools"),
        ({"env": '{"K": "***"}'}, "--env: the value of K is only its mask ***. Give the value itself"),
        ({"name": "a b"}, "--name must be 1 to 64 letters"),
        ({"command": ""}, "--command must be one line"),
        ({"command": "a\0b"}, "--command must be one line"),
        ({"args": "[1]"}, "--args must be a string"),
        ({"args": "not json"}, "--args must be JSON like"),
        ({"args": '{"a": "b"}'}, "--args must be a list like"),
        ({"args": ["a"]}, "--args must be a string"),
        ({"args": "[" * 100_000}, "--args must be JSON"),
        ({"args": '["a\\u0000b"]'}, "--args must be a string"),
        ({"env": '{"A": "\\u0000"}'}, "--env: the value of A must be a string"),
        ({"env": '["a"]'}, "--env must be an object"),
        ({"env": '{"A": 1}'}, "--env: the value of A must be a string"),
        ({"env": '{"A=B": "x"}'}, "--env must be the name of an environment variable"),
        ({"env": '{"A": "\\ud800"}'}, "--env: the value of A must be a string"),
        ({"instructions": "\ud800"}, "--instructions must be a string"),
    ],
)
def test_invalid_mcp_server_is_refused(run, options, says) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        given = {"name": "rss", "command": "npx"} | options
        assert says in await refused(host, group_id, "add-mcp-server", **given)

    run(scenario)


def test_packages_are_added_once_and_removed(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        add = ("groups", "config", "add-package", group_id)
        await host.ncl.data(*add, apt="jq")
        both = await host.ncl.data(*add, apt=["jq", "ripgrep"], npm="@scope/tool", pip="Some-Package")
        assert (both["packages_apt"], both["packages_npm"]) == (["jq", "ripgrep"], ["@scope/tool"])
        assert both["packages_pip"] == ["Some-Package"]
        assert f"`ncl groups restart {group_id} --rebuild`" in both["takes_effect"]
        left = await host.ncl.data("groups", "config", "remove-package", group_id, apt="jq")
        assert left["packages_apt"] == ["ripgrep"]
        message = await refused(host, group_id, "remove-package", apt="jq")
        assert "the config has no apt package 'jq'. Known: ripgrep" in message

    run(scenario)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "must be 1 to 20 in one request, got 0. Name them with --apt, --npm, --pip"),
        ({"apt": None}, "got 0"),
        ({"apt": [f"p{n}" for n in range(21)]}, "got 21"),
        ({"apt": ["p"] * 10, "npm": ["p"] * 10, "pip": "p"}, "got 21"),
    ],
)
def test_package_request_outside_one_to_twenty_is_refused(run, options, says) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        assert says in await refused(host, group_id, "add-package", **options)

    run(scenario)


@pytest.mark.defect(number=50)
@pytest.mark.parametrize(
    "options",
    [
        {"apt": "jq; touch /x"},
        {"apt": "jq\nRUN id"},
        {"apt": "--allow-unauthenticated"},
        {"npm": "git+https://example.org/x"},
        {"npm": "../x"},
        {"pip": "--index-url=http://evil"},
        {"pip": "x @ file:///etc"},
        {"pip": "x==1 --hash"},
    ],
)
def test_package_that_is_not_a_name_is_refused(run, options) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        assert "Give only names" in await refused(host, group_id, "add-package", **options)

    run(scenario)


@pytest.mark.defect(number=52)
@pytest.mark.parametrize("bad", ["", None, 5, True, ["jq"], {"a": 1}, "jq; touch x"])
def test_one_invalid_package_name_refuses_all(run, bad) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        for names in (["ripgrep", bad], [bad, "ripgrep"], ["", bad]):
            assert "Give only names" in await refused(host, group_id, "add-package", apt=names, npm=["ok"])

    run(scenario)


@pytest.mark.defect(number=43)
def test_removing_the_last_package_resets_the_image(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        await host.ncl.data("groups", "config", "add-package", group_id, apt="jq", pip="six")
        await host.ncl.data("groups", "config", "update", group_id, **{"image-tag": "agent:1"})
        remove = ("groups", "config", "remove-package", group_id)
        assert (await host.ncl.data(*remove, apt="jq"))["image_tag"] == "agent:1"
        last = await host.ncl.data(*remove, pip="six")
        assert last["image_tag"] is None
        assert last["takes_effect"].startswith("At the next start of a sandbox")
        assert "--rebuild" not in last["takes_effect"]

    run(scenario)


@pytest.mark.parametrize(
    ("given", "stored"),
    [("all", "all"), ("none", []), ("a,b", ["a", "b"]), (["a", "b", "a"], ["a", "b"]), ("one", ["one"])],
)
def test_set_skills_stores_all_none_or_names(run, given, stored) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        assert (await host.ncl.data("groups", "config", "set-skills", group_id, skills=given))["skills"] == stored

    run(scenario)


@pytest.mark.parametrize("given", ["", "../x", "a,,b", "all,a", ["none", "a"], [5], [["a"]], []])
def test_invalid_skills_are_refused(run, given) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        assert "--skills" in await refused(host, group_id, "set-skills", skills=given)

    run(scenario)


def test_config_change_applies_to_the_next_sandbox_only(run, nanoclaw_instance: Instance) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        session = await host.session()
        changed = await host.ncl.data("groups", "config", "update", group_id, model="opus", **{"memory-mb": 128})
        await host.ncl.data("groups", "config", "add-mcp-server", group_id, name="rss", command="npx")
        assert changed["takes_effect"] == (
            f"At the next start of a sandbox. `ncl groups restart {group_id}` restarts the running ones."
        )
        await host.running.channel.say("still there?")
        await host.running.channel.texts(2)
        assert len(host.runtime.specs) == 1
        await host.ncl.data("groups", "restart", group_id, message="changed")
        await host.recording.wait_for(session.id, "changed")
        assert host.runtime.specs[1].limits.memory_bytes == 128 * 1024**2
        text = nanoclaw_instance.paths.home / "sessions" / session.id / "in" / "config.json"
        config = read_config(text.read_text())
        assert (config.model, config.mcp_servers["rss"].command) == ("opus", "npx")

    run(scenario)


def test_update_without_a_difference_says_nothing_changed(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        changed = await host.ncl.data("groups", "config", "update", group_id, effort=None)
        assert changed["takes_effect"] == "Nothing changed."

    run(scenario)


def test_cli_scope_takes_effect_at_once(run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        session = await host.session()
        changed = await host.ncl.data("groups", "config", "update", group_id, **{"cli-scope": "disabled"})
        assert changed["takes_effect"].endswith("cli_scope takes effect at once.")
        assert (await host.as_agent(session, "groups", "config", "get"))["error"]["code"] == "forbidden"

    run(scenario)


@pytest.mark.defect(number=15)
def test_help_lists_every_parameter_of_groups_config(run) -> None:
    expected = {
        "groups config get": {"id", "reveal"},
        "groups config add-mcp-server": {"id", "name", "command", "args", "env", "instructions"},
        "groups config remove-mcp-server": {"id", "name"},
        "groups config add-package": {"id", "apt", "npm", "pip"},
        "groups config remove-package": {"id", "apt", "npm", "pip"},
        "groups config add-mount": {"id", "path", "name", "writable"},
        "groups config remove-mount": {"id", "name"},
        "groups config set-skills": {"id", "skills"},
        "groups restart": {"id", "rebuild", "message"},
    }

    async def scenario(host: Hosted, _group_id: str) -> None:
        shown = {verb["command"]: verb["parameters"] for verb in await host.ncl.data("help", "groups")}
        names = {command: {parameter["name"] for parameter in listed} for command, listed in shown.items()}
        assert {command: names[command] for command in expected} == expected
        assert names["groups config update"] >= {"cli_scope", "memory_mb", "cpus", "pids", "max_messages_per_prompt"}
        assert all(parameter["help"] for command in expected for parameter in shown[command])

    run(scenario)
