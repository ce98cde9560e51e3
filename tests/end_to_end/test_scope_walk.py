"""Every registered verb × scope × own, foreign and absent ids × spellings, generated from what is installed.

A plugin's verbs are walked because they are registered: nobody has to think of them. What a walk looks for is not what
each verb answers but what none may do: tell of another agent's things, change them, or touch `cli_scope`.
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

MARK = "zanzibar"  # in everything that is the other agent's, so that a leak shows whatever column it comes from
ABSENT = "xx-000000000000"
VALUES: Mapping[type, Any] = {str: "walked", int: 1, float: 1.0, bool: True, list: ["walked"], dict: {}}
TYPICAL = {"sort": "-id", "columns": "all", "args": '["a"]', "env": '{"A": "b"}', "skills": "all", "effort": "high"}


@frozen(kw_only=True)
class Ids:
    """The keys of one noun's rows, one of each kind."""

    own: Mapping[str, Any]
    foreign: Mapping[str, Any]
    absent: Mapping[str, Any]


@frozen(kw_only=True)
class World:
    """A running host with two agents that have been spoken to, and a caller who is the first."""

    host: Host
    instance: Instance
    runtime: ScriptedRuntime
    own: GroupId
    foreign: GroupId
    caller: Caller

    @property
    def verbs(self) -> Mapping[str, Verb]:
        return {name: offer.value for name, offer in self.host.components.dispatch.offers.items()}

    def set_scope(self, scope: str) -> None:
        query = "UPDATE container_configs SET cli_scope = ? WHERE agent_group_id = ?"
        self.instance.db.execute(query, (scope, self.own))

    async def ask(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        request = Request(id="walk", words=name.split(), options=dict(options))
        answer = await self.host.components.dispatch.answer(request, self.caller)
        frame: dict[str, Any] = json.loads(answer.as_line())
        # As if somebody had answered: there is a limit to what waits.
        self.instance.db.execute("UPDATE approvals SET status = 'rejected' WHERE id NOT LIKE 'apr-ag-%'")
        return frame

    def foreign_rows(self) -> list[Any]:
        """Return everything of the other agent in the central database, and who may use ncl how."""
        db = self.instance.db
        of_group = ("container_configs", "wirings", "approvals")
        rows = [db.execute(f"SELECT * FROM {name} WHERE agent_group_id = ?", (self.foreign,)) for name in of_group]
        of_sessions = "SELECT id, provider, conversation, status FROM sessions WHERE agent_group_id = ?"
        rows.append(db.execute(of_sessions, (self.foreign,)))  # what the host itself notes there changes by itself
        rows.append(db.execute("SELECT * FROM agent_groups WHERE id = ?", (self.foreign,)))
        rows.append(db.execute("SELECT * FROM messaging_groups WHERE room LIKE ?", (f"%{MARK}%",)))
        rows.append(db.execute("SELECT id, content, status FROM deliveries WHERE room LIKE ?", (f"%{MARK}%",)))
        rows.append(db.execute("SELECT agent_group_id, cli_scope FROM container_configs ORDER BY 1"))
        return [found.fetchall() for found in rows]


@asynccontextmanager
async def world(instance: Instance) -> AsyncIterator[World]:
    """Run a host with every installed plugin that has verbs, and let both agents answer once."""
    channel, runtime = RecorderChannel(), ScriptedRuntime()
    instance.wire(room="own-room", folder="own")
    instance.wire(room=f"{MARK}-room", folder=MARK)
    own, foreign = (instance.group(folder).id for folder in ("own", MARK))
    instance.db.execute(
        "UPDATE container_configs SET assistant_name = ? WHERE agent_group_id = ?", (f"{MARK} assistant", foreign)
    )
    core = evolve(
        instance.settings.core, disabled_plugins=["docker", "process", "terminal"]
    )  # the others have the verbs
    instance.settings = evolve(instance.settings, core=core)
    plugins = {"recorder": channel, "scripted": runtime}
    async with Host(instance.settings, plugins=plugins, environment={}) as host:
        await asyncio.sleep(0)
        for room in ("own-room", f"{MARK}-room"):
            await channel.say("hello", room=room)
        await channel.texts(2)
        sessions = {one.agent_group_id: one.id for one in instance.sessions()}
        for group in (own, foreign):
            instance.db.execute(
                "INSERT INTO approvals (id, kind, name, arguments, agent_group_id, session_id, created_at, expires_at)"
                " VALUES (?, 'verb', 'none such', '{}', ?, ?, '2026-01-01T00:00:00.000Z', '2099-01-01T00:00:00.000Z')",
                (f"apr-{group}", group, sessions[group]),
            )
        caller = Caller(session_id=sessions[own], agent_group_id=own)
        yield World(host=host, instance=instance, runtime=runtime, own=own, foreign=foreign, caller=caller)


def ids_of(here: World, noun: str) -> Ids:
    """Return keys of a noun's rows: of the caller's, of the other agent's, and of none that there is."""
    offer = here.host.components.context.parts.resources.get(noun)
    if offer is None or offer.value.scope_column is None:
        one = {"id": ABSENT, "agent_group_id": ABSENT}
        return Ids(own={"id": here.own}, foreign={"id": here.foreign}, absent=one)
    resource = offer.value

    def key(group: GroupId) -> Mapping[str, Any]:
        query = f"SELECT {', '.join(resource.key)} FROM {resource.table} WHERE {resource.scope_column} = ? LIMIT 1"
        found = here.instance.db.execute(query, (group,)).fetchone()
        return dict(zip(resource.key, found or (ABSENT,) * len(resource.key), strict=True))

    return Ids(own=key(here.own), foreign=key(here.foreign), absent=dict.fromkeys(resource.key, ABSENT))


def value_of(parameter: Parameter) -> Any:
    """Return a value of a parameter's kind that gets as far as possible."""
    return TYPICAL.get(parameter.name, VALUES[parameter.kind])


def spelled(name: str) -> list[str]:
    return list(dict.fromkeys((name, name.replace("_", "-"))))


def requests(here: World, verb: Verb) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every way in which a verb is asked: `(whose, options)`."""
    ids = ids_of(here, verb.resource)
    required = {one.name: value_of(one) for one in verb.parameters if one.is_required}
    groups = {"own": here.own, "foreign": here.foreign, "absent": ABSENT}
    yield "nothing", {}
    for whose, key in (("own", ids.own), ("foreign", ids.foreign), ("absent", ids.absent)):
        named = {name: key[name] for name in key if name in {one.name for one in verb.parameters}}
        yield whose, required | named
        for one in verb.parameters:  # everything else that can be said, alone beside what must be
            if one.name not in named:
                yield whose, required | named | {one.name: value_of(one)}
    for one in verb.parameters:
        for whose, group in groups.items():
            for spelling in spelled(one.name):
                yield whose, {name: value for name, value in required.items() if name != one.name} | {spelling: group}
                yield (
                    whose,
                    {name: value for name, value in required.items() if name != one.name}
                    | {spelling: ids.foreign.get("id", ABSENT) if whose == "foreign" else group},
                )
            if len(spelled(one.name)) == 2:  # ⚠49: both, in either order
                first, second = spelled(one.name)
                yield whose, {first: here.own, second: group}
                yield whose, {second: here.own, first: group}


def told(frame: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return what an answer tells beyond what was said to it."""
    text = json.dumps(frame)
    for value in sorted(map(str, options.values()), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def test_a_disabled_agent_gets_nothing_from_any_verb(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with world(nanoclaw_instance) as here:
            here.set_scope("disabled")
            for name, verb in here.verbs.items():
                for _, options in requests(here, verb):
                    frame = await here.ask(name, options)
                    assert frame["error"]["code"] == "forbidden", (name, options, frame)
                    assert "disabled" in frame["error"]["message"]

    asyncio.run(scenario())


def test_an_agent_of_group_scope_learns_and_changes_nothing_beyond_its_own_group(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with world(nanoclaw_instance) as here:
            here.set_scope("group")
            limited = evolve(here.caller, scope_group_id=here.own)
            secrets = [
                MARK,
                here.foreign,
                *(one.id for one in here.instance.sessions() if one.agent_group_id != here.own),
            ]
            before, started = here.foreign_rows(), len(here.runtime.specs)
            for name, verb in here.verbs.items():
                for whose, options in requests(here, verb):
                    frame = await here.ask(name, options)
                    said = told(frame, options)
                    assert not any(secret in said for secret in secrets), (name, options, frame)
                    if not is_within(verb, limited):
                        assert frame["error"]["code"] == "forbidden", (name, options, frame)
                    if whose == "foreign" and here.foreign in options.values() and verb.scope_parameter in options:
                        assert not frame["ok"], (name, options, frame)
            await carry_out_everything(here)
            after = here.foreign_rows()
            assert after == before
            assert here.foreign not in {one.agent_group_id for one in started_since(here, started)}

    asyncio.run(scenario())


def test_what_is_foreign_and_what_is_not_there_are_answered_alike(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with world(nanoclaw_instance) as here:
            here.set_scope("group")
            for name, verb in here.verbs.items():
                ids = ids_of(here, verb.resource)
                names = {one.name for one in verb.parameters}
                required = {one.name: value_of(one) for one in verb.parameters if one.is_required}
                foreign, absent = (
                    required | {name: key[name] for name in key if name in names} for key in (ids.foreign, ids.absent)
                )
                answers = [await here.ask(name, options) for options in (foreign, absent)]
                texts = [told(frame, options) for frame, options in zip(answers, (foreign, absent), strict=True)]
                assert texts[0] == texts[1] or foreign == absent, (name, answers)

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["cli_scope", "cli-scope", "CLI-SCOPE"])
def test_no_verb_takes_cli_scope_from_an_agent_of_group_scope(nanoclaw_instance: Instance, key: str) -> None:
    async def scenario() -> None:
        async with world(nanoclaw_instance) as here:
            here.set_scope("group")
            for name, verb in here.verbs.items():
                required = {one.name: value_of(one) for one in verb.parameters if one.is_required}
                wrapped = json.dumps({"a": [{key: "global"}]})
                ways = [required | {key: "global"}, *(required | {one.name: wrapped} for one in verb.parameters)]
                for options in ways:
                    frame = await here.ask(name, options)
                    assert not frame["ok"], (name, options, frame)
                    assert frame["error"]["code"] == "forbidden", (name, options, frame)

    asyncio.run(scenario())


def test_an_agent_of_global_scope_is_turned_away_only_from_what_is_the_operators(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with world(nanoclaw_instance) as here:
            here.set_scope("global")
            for name, verb in here.verbs.items():
                codes = set()
                for _, options in requests(here, verb):
                    frame = await here.ask(name, options)
                    codes.add("ok" if frame["ok"] else frame["error"]["code"])
                is_theirs = verb.access is Access.OPERATOR_ONLY
                assert not is_theirs or codes <= {"forbidden", "invalid-args", "not-found"}, (name, codes)
                assert verb.access is not Access.ALLOWED or "ok" in codes or "not-found" in codes, (name, codes)
                assert verb.access is not Access.NEEDS_APPROVAL or "ok" not in codes, (name, codes)
                assert "handler-error" not in codes, (name, codes)

    asyncio.run(scenario())


async def carry_out_everything(here: World) -> None:
    """Have a human agree to all that was held, what removes things last: even then nothing foreign may change."""
    query = "SELECT id FROM approvals WHERE agent_group_id = ? AND id NOT LIKE 'apr-ag-%' ORDER BY name LIKE '%delete%'"
    for (approval_id,) in here.instance.db.execute(query, (here.own,)).fetchall():
        here.instance.db.execute("UPDATE approvals SET status = 'approved' WHERE id = ?", (approval_id,))
        await here.host.components.context.plugin_context("approvals").operations.execute_approved(approval_id)


def started_since(here: World, count: int) -> list[Any]:
    ids = {spec.session_id for spec in here.runtime.specs[count:]}
    return [one for one in here.instance.sessions() if one.id in ids]
