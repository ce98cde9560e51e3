"""Tests of the missing configs that a host creates when it starts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from agents_host import hosted
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nanoclaw_resource_configs.container_json import config_from

from nanoclaw_core import ContainerConfig, InvalidArguments, config_of, save_config
from nanoclaw_core.settings import AllowedMount
from nanoclaw_core.testing.instance import Instance

WHOLE = {
    "mcpServers": {"rss": {"command": "npx", "args": ["feeds"], "env": {"K": "v"}}},
    "packages": {"apt": ["jq"], "npm": ["@scope/tool"]},
    "imageTag": "agent:1",
    "skills": ["welcome"],
    "provider": "scripted",
    "groupName": "Old name",
    "assistantName": "Andy",
    "agentGroupId": "ag-of-old",
    "maxMessagesPerPrompt": 5,
    "model": "opus",
    "effort": "low",
}


@pytest.fixture
def bare(nanoclaw_instance: Instance) -> Instance:
    """Return an instance with one agent group, which has no config."""
    nanoclaw_instance.group()
    nanoclaw_instance.db.execute("DELETE FROM container_configs")
    return nanoclaw_instance


def start(instance: Instance, written: object = None, *, text: str | None = None) -> dict[str, Any]:
    """Start a host, with a container.json in the group's folder if one is given, and return the group's config."""
    path = instance.paths.groups / "agent" / "container.json"
    if written is not None or text is not None:
        path.write_text(text if text is not None else json.dumps(written))

    async def scenario() -> dict[str, Any]:
        async with hosted(instance) as host:
            shown: dict[str, Any] = await host.ncl.data("groups", "config", "get", instance.group().id)
            return shown

    return asyncio.run(scenario())


def problems(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.problem for record in caplog.records if record.message == "ignored part of container.json"]


def rows(instance: Instance) -> int:
    return int(instance.db.execute("SELECT count(*) FROM container_configs").get)


def test_container_json_becomes_the_config(bare: Instance, tmp_path: Path, caplog) -> None:
    (tmp_path / "notes").mkdir()
    core = evolve(bare.settings.core, allowed_mounts=[AllowedMount(path=str(tmp_path), writable=True)])
    bare.settings = evolve(bare.settings, core=core)
    mount = {"hostPath": f"{tmp_path}/notes", "containerPath": "/workspace/extra/mine", "readonly": False}
    shown = start(bare, WHOLE | {"additionalMounts": [mount]})
    assert shown["mcp_servers"]["rss"]["args"] == ["feeds"]
    assert (shown["packages_apt"], shown["packages_npm"], shown["image_tag"]) == (["jq"], ["@scope/tool"], "agent:1")
    assert (shown["skills"], shown["provider"], shown["assistant_name"]) == (["welcome"], "scripted", "Andy")
    assert (shown["max_messages_per_prompt"], shown["model"], shown["effort"]) == (5, "opus", "low")
    (mount,) = shown["additional_mounts"]
    assert mount.pop("identity").split(":")[1] == str((tmp_path / "notes").stat().st_ino)
    assert mount == {"path": f"{tmp_path}/notes", "name": "mine", "writable": True}
    assert problems(caplog) == []
    assert rows(bare) == 1


@pytest.mark.defect(number=50)
def test_invalid_parts_of_the_file_are_ignored_and_logged(bare: Instance, caplog) -> None:
    wrong = {
        "packages": {"apt": ["", "jq; id", "ripgrep"], "gem": ["rails"]},
        "mcpServers": {"nanoclaw": {"command": "x"}, "good": {"command": "y"}, "bad": "z"},
        "additionalMounts": [{"hostPath": "/etc"}, "/etc"],
        "effort": "extreme",
        "maxMessagesPerPrompt": 2.5,
        "model": "opus",
        "cliScope": "global",
        "cli_scope": "global",
    }
    shown = start(bare, WHOLE | wrong)
    assert (shown["packages_apt"], list(shown["mcp_servers"])) == (["ripgrep"], ["good"])
    assert (shown["additional_mounts"], shown["effort"], shown["max_messages_per_prompt"]) == ([], None, None)
    assert (shown["model"], shown["cli_scope"]) == ("opus", "group")
    keys = ["effort", "maxMessagesPerPrompt", "mcpServers", "mcpServers", *["packages"] * 3, *["additionalMounts"] * 2]
    assert sorted(problem.partition(":")[0] for problem in problems(caplog) if ":" in problem) == sorted(keys)
    unknown = [problem for problem in problems(caplog) if "is not a known key" in problem]
    assert unknown == ["'cliScope' is not a known key", "'cli_scope' is not a known key"]


def test_existing_config_is_never_changed(nanoclaw_instance: Instance) -> None:
    nanoclaw_instance.group()
    before = nanoclaw_instance.db.execute("SELECT * FROM container_configs").fetchall()
    assert start(nanoclaw_instance, WHOLE)["model"] is None
    assert nanoclaw_instance.db.execute("SELECT * FROM container_configs").fetchall() == before


def test_file_written_after_the_first_start_is_ignored(bare: Instance) -> None:
    assert start(bare)["model"] is None
    assert rows(bare) == 1
    assert start(bare, WHOLE)["model"] is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '"\\ud800"', " " * 1_000_001])
def test_unreadable_file_creates_a_config_of_defaults(bare: Instance, caplog, text: str) -> None:
    assert start(bare, text=text)["packages_apt"] == []
    assert len(problems(caplog)) == 1
    assert rows(bare) == 1


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_pipe_or_link_instead_of_the_file_is_not_opened(bare: Instance, tmp_path: Path, caplog, kind: str) -> None:
    path = bare.paths.groups / "agent" / "container.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "elsewhere.json").write_text(json.dumps(WHOLE))
        path.symlink_to(tmp_path / "elsewhere.json")
    assert start(bare)["model"] is None
    assert "must be a regular file" in problems(caplog)[0]


def test_secrets_of_the_file_are_not_logged(bare: Instance, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    start(bare, {"mcpServers": {"a": {"command": "x", "env": {"KEY": ["hidden-word"]}}}})
    assert problems(caplog) == ["mcpServers: --env: the value of KEY must be a string"]
    assert "hidden-word" not in caplog.text


def test_first_message_after_the_start_uses_the_config(bare: Instance) -> None:
    (bare.paths.groups / "agent" / "container.json").write_text(json.dumps({"imageTag": "agent:1"}))
    bare.wire()

    async def scenario() -> str | None:
        async with hosted(bare) as host:
            await host.running.channel.say("hi")
            await host.running.channel.texts(1)
            return host.runtime.specs[0].image

    assert asyncio.run(scenario()) == "agent:1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*WHOLE, "additionalMounts"])
FILES = st.dictionaries(KEYS | st.text(max_size=5), JSON, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(written=FILES)
def test_any_file_makes_a_config_that_can_be_stored(nanoclaw_instance: Instance, written: dict[str, Any]) -> None:
    def refuse(_mount: object) -> Any:
        raise InvalidArguments("no mounts are allowed")

    group = nanoclaw_instance.group()
    config, left_out = config_from(ContainerConfig(agent_group_id=group.id), written, refuse)
    save_config(nanoclaw_instance.db, config)
    assert evolve(config_of(nanoclaw_instance.db, group.id), updated_at="") == config
    assert all(isinstance(problem, str) for problem in left_out)
