"""Every registered verb × scope × own, foreign and absent ids × spellings, generated from the installed plugins.

The tests include each registered verb of each plugin without further work. They do not check the answers of a verb.
They check that no verb reveals or changes another agent's data, or changes `cli_scope`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import evolve, frozen
from nanoclaw_wire.frames import Request

from nanoclaw_core import Access, Caller, GroupId, Host, Parameter, Verb
from nanoclaw_core.scope import is_within
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime

MARK = "zanzibar"  # in all data of the other agent, so that a leak from any column is visible
ABSENT = "xx-000000000000"
VALUES: Mapping[type, Any] = {str: "walked", int: 1, float: 1.0, bool: True, list: ["walked"], dict: {}}
TYPICAL = {"sort": "-id", "columns": "all", "args": '["a"]', "env": '{"A": "b"}', "skills": "all", "effort": "high"}


@frozen(kw_only=True)
class Ids:
    """The keys of one row of a resource for each owner."""

    own: Mapping[str, Any]
    foreign: Mapping[str, Any]
    absent: Mapping[str, Any]


@frozen(kw_only=True)
class Setup:
    """A running host with two agents that have sessions.

    The caller is the first agent.
    """

    host: Host
    instance: Instance
    runtime: ScriptedRuntime
    own: GroupId
    foreign: GroupId
    caller: Caller

    @property
    def verbs(self) -> Mapping[str, Verb]:
        return {name: contribution.value for name, contribution in self.host.components.dispatch.verbs.items()}

    def set_scope(self, scope: str) -> None:
        query = "UPDATE container_configs SET cli_scope = ? WHERE agent_group_id = ?"
        self.instance.db.execute(query, (scope, self.own))

    async def ask(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        request = Request(id="walk", words=name.split(), options=dict(options))
        answer = await self.host.components.dispatch.answer(request, self.caller)
        frame: dict[str, Any] = json.loads(answer.as_line())
        # Answer the new approvals, because the number of pending ones is limited.
        self.instance.db.execute("UPDATE approvals SET status = 'rejected' WHERE id NOT LIKE 'apr-ag-%'")
        return frame

    def foreign_rows(self) -> list[Any]:
        """Return all data of the other agent in the central database, and the `cli_scope` of both agents."""
        db = self.instance.db
        of_group = ("container_configs", "wirings", "approvals")
        rows = [db.execute(f"SELECT * FROM {name} WHERE agent_group_id = ?", (self.foreign,)) for name in of_group]
        of_sessions = "SELECT id, provider, conversation, status FROM sessions WHERE agent_group_id = ?"
        rows.append(db.execute(of_sessions, (self.foreign,)))  # the host changes the other columns
        rows.append(db.execute("SELECT * FROM agent_groups WHERE id = ?", (self.foreign,)))
        rows.append(db.execute("SELECT * FROM messaging_groups WHERE room LIKE ?", (f"%{MARK}%",)))
        rows.append(db.execute("SELECT id, content, status FROM deliveries WHERE room LIKE ?", (f"%{MARK}%",)))
        rows.append(db.execute("SELECT agent_group_id, cli_scope FROM container_configs ORDER BY 1"))
        return [cursor.fetchall() for cursor in rows]


@asynccontextmanager
async def make_setup(instance: Instance) -> AsyncIterator[Setup]:
    """Run a host with every installed plugin that has verbs, and make both agents answer once."""
    channel, runtime = RecorderChannel(), ScriptedRuntime()
    instance.wire(room="own-room", folder="own")
    instance.wire(room=f"{MARK}-room", folder=MARK)
    own, foreign = (instance.group(folder).id for folder in ("own", MARK))
    instance.db.execute(
        "UPDATE container_configs SET assistant_name = ? WHERE agent_group_id = ?", (f"{MARK} assistant", foreign)
    )
    # The disabled plugins have no verbs.
    core = evolve(instance.settings.core, disabled_plugins=["docker", "process", "terminal"])
    instance.settings = evolve(instance.settings, core=core)
    plugins = {"recorder": channel, "scripted": runtime}
    async with Host(instance.settings, plugins=plugins, environment={}) as host:
        await asyncio.sleep(0)
        for room in ("own-room", f"{MARK}-room"):
            await channel.say("hello", room=room)
        await channel.texts(2)
        sessions = {session.agent_group_id: session.id for session in instance.sessions()}
        for group in (own, foreign):
            instance.db.execute(
                "INSERT INTO approvals (id, kind, name, arguments, agent_group_id, session_id, created_at, expires_at)"
                " VALUES (?, 'verb', 'none such', '{}', ?, ?, '2026-01-01T00:00:00.000Z', '2099-01-01T00:00:00.000Z')",
                (f"apr-{group}", group, sessions[group]),
            )
        caller = Caller(session_id=sessions[own], agent_group_id=own)
        yield Setup(host=host, instance=instance, runtime=runtime, own=own, foreign=foreign, caller=caller)


def ids_of(setup: Setup, resource_name: str) -> Ids:
    """Return the keys of a row of the caller, of a row of the other agent, and of a missing row."""
    contribution = setup.host.components.contributions.resources.get(resource_name)
    if contribution is None or contribution.value.scope_column is None:
        absent = {"id": ABSENT, "agent_group_id": ABSENT}
        return Ids(own={"id": setup.own}, foreign={"id": setup.foreign}, absent=absent)
    resource = contribution.value

    def key(group: GroupId) -> Mapping[str, Any]:
        query = f"SELECT {', '.join(resource.key)} FROM {resource.table} WHERE {resource.scope_column} = ? LIMIT 1"
        row = setup.instance.db.execute(query, (group,)).fetchone()
        return dict(zip(resource.key, row or (ABSENT,) * len(resource.key), strict=True))

    return Ids(own=key(setup.own), foreign=key(setup.foreign), absent=dict.fromkeys(resource.key, ABSENT))


def value_of(parameter: Parameter) -> Any:
    """Return a valid value for a parameter."""
    return TYPICAL.get(parameter.name, VALUES[parameter.kind])


def required_values(verb: Verb) -> dict[str, Any]:
    """Return a value for each required parameter of a verb."""
    return {parameter.name: value_of(parameter) for parameter in verb.parameters if parameter.is_required}


def spellings(name: str) -> list[str]:
    return list(dict.fromkeys((name, name.replace("_", "-"))))


def requests(setup: Setup, verb: Verb) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `(owner, options)` for every request of a verb.

    The owner of the ids is own, foreign or absent.
    """
    ids = ids_of(setup, verb.resource)
    names, required = {parameter.name for parameter in verb.parameters}, required_values(verb)
    groups = {"own": setup.own, "foreign": setup.foreign, "absent": ABSENT}
    yield "nothing", {}
    for owner, key in (("own", ids.own), ("foreign", ids.foreign), ("absent", ids.absent)):
        named = {name: key[name] for name in key if name in names}
        yield owner, required | named
        for parameter in verb.parameters:  # each optional parameter alone with the required ones
            if parameter.name not in named:
                yield owner, required | named | {parameter.name: value_of(parameter)}
    for parameter in verb.parameters:
        others = {name: value for name, value in required.items() if name != parameter.name}
        for owner, group in groups.items():
            for spelling in spellings(parameter.name):
                yield owner, others | {spelling: group}
                yield owner, others | {spelling: ids.foreign.get("id", ABSENT) if owner == "foreign" else group}
            if len(spellings(parameter.name)) == 2:  # ⚠49: both spellings, in either order
                first, second = spellings(parameter.name)
                yield owner, {first: setup.own, second: group}
                yield owner, {second: setup.own, first: group}


def revealed(frame: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return an answer without the values of its own request."""
    text = json.dumps(frame)
    for value in sorted(map(str, options.values()), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def test_disabled_agent_is_refused_every_verb(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with make_setup(nanoclaw_instance) as setup:
            setup.set_scope("disabled")
            for name, verb in setup.verbs.items():
                for _, options in requests(setup, verb):
                    frame = await setup.ask(name, options)
                    assert frame["error"]["code"] == "forbidden", (name, options, frame)
                    assert "disabled" in frame["error"]["message"]

    asyncio.run(scenario())


def test_group_scope_reads_and_changes_only_its_own_group(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with make_setup(nanoclaw_instance) as setup:
            setup.set_scope("group")
            limited = evolve(setup.caller, scope_group_id=setup.own)
            secrets = [
                MARK,
                setup.foreign,
                *(session.id for session in setup.instance.sessions() if session.agent_group_id != setup.own),
            ]
            before, started = setup.foreign_rows(), len(setup.runtime.specs)
            for name, verb in setup.verbs.items():
                for owner, options in requests(setup, verb):
                    frame = await setup.ask(name, options)
                    text = revealed(frame, options)
                    assert not any(secret in text for secret in secrets), (name, options, frame)
                    if not is_within(verb, limited):
                        assert frame["error"]["code"] == "forbidden", (name, options, frame)
                    if owner == "foreign" and setup.foreign in options.values() and verb.scope_parameter in options:
                        assert not frame["ok"], (name, options, frame)
            await approve_everything(setup)
            after = setup.foreign_rows()
            assert after == before
            assert setup.foreign not in {session.agent_group_id for session in started_since(setup, started)}

    asyncio.run(scenario())


def test_foreign_and_missing_rows_get_the_same_answer(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with make_setup(nanoclaw_instance) as setup:
            setup.set_scope("group")
            for name, verb in setup.verbs.items():
                ids = ids_of(setup, verb.resource)
                names, required = {parameter.name for parameter in verb.parameters}, required_values(verb)
                foreign, absent = (
                    required | {name: key[name] for name in key if name in names} for key in (ids.foreign, ids.absent)
                )
                answers = [await setup.ask(name, options) for options in (foreign, absent)]
                texts = [revealed(frame, options) for frame, options in zip(answers, (foreign, absent), strict=True)]
                assert texts[0] == texts[1] or foreign == absent, (name, answers)

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["cli_scope", "cli-scope", "CLI-SCOPE"])
def test_no_verb_changes_cli_scope_for_group_scope(nanoclaw_instance: Instance, key: str) -> None:
    async def scenario() -> None:
        async with make_setup(nanoclaw_instance) as setup:
            setup.set_scope("group")
            for name, verb in setup.verbs.items():
                required, nested = required_values(verb), json.dumps({"a": [{key: "global"}]})
                nested_options = [required | {parameter.name: nested} for parameter in verb.parameters]
                for options in [required | {key: "global"}, *nested_options]:
                    frame = await setup.ask(name, options)
                    assert not frame["ok"], (name, options, frame)
                    assert frame["error"]["code"] == "forbidden", (name, options, frame)

    asyncio.run(scenario())


def test_global_scope_is_refused_only_operator_verbs(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with make_setup(nanoclaw_instance) as setup:
            setup.set_scope("global")
            for name, verb in setup.verbs.items():
                codes = set()
                for _, options in requests(setup, verb):
                    frame = await setup.ask(name, options)
                    codes.add("ok" if frame["ok"] else frame["error"]["code"])
                is_operators = verb.access is Access.OPERATOR_ONLY
                assert not is_operators or codes <= {"forbidden", "invalid-args", "not-found"}, (name, codes)
                assert verb.access is not Access.ALLOWED or "ok" in codes or "not-found" in codes, (name, codes)
                assert verb.access is not Access.NEEDS_APPROVAL or "ok" not in codes, (name, codes)
                assert "handler-error" not in codes, (name, codes)

    asyncio.run(scenario())


async def approve_everything(setup: Setup) -> None:
    """Approve and execute all pending requests, deletions last.

    Even then no foreign data may change.
    """
    query = "SELECT id FROM approvals WHERE agent_group_id = ? AND id NOT LIKE 'apr-ag-%' ORDER BY name LIKE '%delete%'"
    for (approval_id,) in setup.instance.db.execute(query, (setup.own,)).fetchall():
        setup.instance.db.execute("UPDATE approvals SET status = 'approved' WHERE id = ?", (approval_id,))
        await setup.host.components.plugin_context("approvals").operations.execute_approved(approval_id)


def started_since(setup: Setup, count: int) -> list[Any]:
    ids = {spec.session_id for spec in setup.runtime.specs[count:]}
    return [session for session in setup.instance.sessions() if session.id in ids]
