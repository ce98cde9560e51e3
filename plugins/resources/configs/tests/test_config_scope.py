"""Tests of `ncl groups config` as an agent: only its own group, never its scope, no needless approval."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from agents_host import hosted

from nanoclaw_core.testing.instance import Instance

SCOPES = ("cli_scope", "cli-scope", "CLI_SCOPE", "-cli-scope")


@pytest.mark.defect(number=49)
@pytest.mark.parametrize("spelling", SCOPES)
def test_agent_cannot_set_its_scope_in_any_spelling(nanoclaw_instance: Instance, spelling: str) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            hidden = json.dumps({"nested": [{spelling: "global"}]})
            tries: list[tuple[str, dict[str, Any]]] = [
                ("update", {spelling: "global"}),
                ("update", {"model": "opus", spelling: "global"}),
                ("update", {"model": hidden}),
                ("add-mcp-server", {"name": "a", "command": "b", "env": json.dumps({spelling: "global"})}),
                ("add-mcp-server", {"name": "a", "command": "b", "args": hidden}),
                ("add-package", {"apt": [{spelling: "global"}]}),
                ("set-skills", {"skills": hidden}),
            ]
            for verb, options in tries:
                answer = await host.as_agent(session, "groups", "config", verb, **options)
                assert answer["error"]["code"] == "forbidden", (verb, options, answer)
            assert host.config(session.agent_group_id).cli_scope == "group"
            assert nanoclaw_instance.db.execute("SELECT count(*) FROM approvals").get == 0

    asyncio.run(scenario())


@pytest.mark.defect(number=49)
def test_agent_of_group_scope_reaches_no_other_config(nanoclaw_instance: Instance) -> None:
    other = nanoclaw_instance.group("other")

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            ask = ("groups", "config", "update")
            for words, options in (
                ((*ask, other.id), {}),
                (ask, {"id": other.id}),
                ((*ask, session.agent_group_id), {"id": other.id}),
                (ask, {"id": "ag-none"}),
            ):
                answer = await host.as_agent(session, *words, model="opus", **options)
                assert answer["error"]["code"] in ("forbidden", "invalid-args"), answer
            done = await host.approved(session, *ask, model="opus")
            assert done["data"]["agent_group_id"] == session.agent_group_id
            assert host.config(other.id).model is None

    asyncio.run(scenario())


def test_invalid_change_is_refused_without_an_approval(nanoclaw_instance: Instance) -> None:
    async def scenario() -> int:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            for verb, options in (
                ("update", {}),
                ("update", {"effort": "extreme"}),
                ("add-package", {"apt": ["", "x; y"]}),
                ("add-mcp-server", {"name": "nanoclaw", "command": "x"}),
                ("remove-mount", {"name": "x"}),
                ("set-skills", {"skills": "../x"}),
            ):
                answer = await host.as_agent(session, "groups", "config", verb, **options)
                assert answer["error"]["code"] == "invalid-args", answer
            return nanoclaw_instance.db.execute("SELECT count(*) FROM approvals").get

    assert asyncio.run(scenario()) == 0
