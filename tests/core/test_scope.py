"""The scope of an agent's `ncl`: which verbs and groups it reaches, on verbs that the test defines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.frames import Answer, Code, Request

from nanoclaw_core import Access, Caller, GroupId, NotFound, Parameter, PluginContext, SessionId, Verb
from nanoclaw_core.dispatch import Dispatch, full_name
from nanoclaw_core.guard import Guard
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.scope import Scope, is_visible, names_scope
from nanoclaw_core.verbs import core_verbs

OWN, FOREIGN = GroupId("ag-own"), GroupId("ag-foreign")
AGENT = Caller(session_id=SessionId("ses-own"), agent_group_id=OWN)
OPERATOR = Caller(operator=True)


async def echo(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
    return {"arguments": dict(arguments), "scope_group_id": caller.scope_group_id}


async def own_session(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
    if caller.scope_group_id in (None, OWN) and arguments["id"] == "ses-own":
        return {"id": "ses-own"}
    raise NotFound(f"there is no session {arguments['id']!r}")


def verb(resource: str, name: str, *parameters: str, **more: Any) -> Verb:
    made = [Parameter(name=key, is_positional=key == "id", is_required=key == "id") for key in parameters]
    return Verb(
        **({"resource": resource, "name": name, "access": Access.ALLOWED, "run": echo, "parameters": made} | more)
    )


VERBS = (
    verb("groups", "get", "id", scope_parameter="id"),
    verb("groups", "config update", "id", "cli_scope", "model", scope_parameter="id"),
    verb("sessions", "list", "agent_group_id", scope_parameter="agent_group_id", filters_by_scope=True),
    verb("sessions", "get", "id", scope_parameter="agent_group_id", filters_by_scope=True, run=own_session),
    verb("destinations", "list", "agent_group_id", scope_parameter="agent_group_id"),
    verb("members", "list", "group", scope_parameter="group"),
    verb("wirings", "list", "agent_group_id"),
    verb(
        "things", "list", "scope", scope_parameter="agent_group_id"
    ),  # its scope parameter does not exist, so it has no scope
    verb("secrets", "show", "id", access=Access.OPERATOR_ONLY, scope_parameter="id"),
)


def ask(scope: Scope, *words: str, caller: Caller = AGENT, **options: Any) -> Answer:
    def scope_of(group_id: GroupId) -> Scope:
        assert group_id == OWN
        return scope

    context = PluginContext(
        plugin="acme",
        instance_id="0" * 12,
        home=Path("/nowhere"),
        data_dir=Path("/nowhere"),
        run_dir=Path("/nowhere"),
        environment={},
        database=apsw.Connection(":memory:"),
    )
    offers = {full_name(known_verb): Contribution(known_verb, "acme") for known_verb in VERBS}
    own = core_verbs(status=dict, plugins=list, verbs=lambda: [offer.value for offer in offers.values()])
    offers |= {full_name(known_verb): Contribution(known_verb, "core") for known_verb in own}
    dispatch = Dispatch(
        verbs=offers,
        guard=Guard(db=context.database, plugins=Plugins()),
        scope_of=scope_of,
        plugin_context=lambda _plugin: context,
    )
    return asyncio.run(dispatch.answer(Request(id="1", words=list(words), options=options), caller))


def arguments(answer: Answer) -> Any:
    assert answer.ok, answer
    return answer.data["arguments"]


def forbidden(answer: Answer) -> str:
    assert answer.code is Code.FORBIDDEN, answer
    return answer.message or ""


@pytest.mark.parametrize("words", [["help"], ["groups", "get"], ["no", "such", "verb"], []])
def test_disabled_scope_refuses_every_command(words: list[str]) -> None:
    assert "disabled" in forbidden(ask(Scope.DISABLED, *words))


def test_group_scope_fills_in_its_own_group() -> None:
    assert arguments(ask(Scope.GROUP, "groups", "get")) == {"id": OWN}


@pytest.mark.parametrize("how", ["positional", "option"])
def test_group_scope_refuses_another_group(how: str) -> None:
    asked = ask(Scope.GROUP, "groups", "get", FOREIGN) if how == "positional" else None
    assert "scoped to its own group" in forbidden(asked or ask(Scope.GROUP, "groups", "get", id=FOREIGN))


def test_refusal_does_not_reveal_whether_a_group_exists() -> None:
    known, unknown = (forbidden(ask(Scope.GROUP, "groups", "get", name)) for name in (FOREIGN, "ag-none"))
    assert known.replace(FOREIGN, "ag-none") == unknown


@pytest.mark.parametrize("value", [None, True, 7, "", [], [OWN], {"id": OWN}, f"{OWN} ", OWN.upper()])
def test_group_scope_refuses_a_similar_group_id(value: object) -> None:
    assert ask(Scope.GROUP, "groups", "get", id=value).code in (Code.FORBIDDEN, Code.INVALID_ARGS)


def test_group_scope_accepts_its_own_group() -> None:
    assert arguments(ask(Scope.GROUP, "groups", "get", OWN)) == {"id": OWN}


@pytest.mark.parametrize(
    "key", ["cli_scope", "cli-scope", "CLI-Scope", "cli_Scope", "-cli-scope", "_cli_scope ", " cli-scope"]
)
def test_group_scope_refuses_every_spelling_of_cli_scope(key: str) -> None:
    code = ask(Scope.GROUP, "groups", "config", "update", **{key: "global"}).code
    assert code is (Code.INVALID_ARGS if key == "_cli_scope " else Code.FORBIDDEN)


@pytest.mark.parametrize(
    "value",
    [
        '{"cli_scope": "global"}',
        '[{"a": {"cli-scope": 1}}]',
        '"{\\"cli_scope\\": 1}"',
        ' {"CLI_SCOPE": 1}',
        "[" * 100_000,
    ],
)
def test_group_scope_refuses_cli_scope_inside_json(value: str) -> None:
    forbidden(ask(Scope.GROUP, "groups", "config", "update", model=value))


def test_group_scope_refuses_cli_scope_inside_a_list() -> None:
    forbidden(ask(Scope.GROUP, "groups", "config", "update", model=[{"cli-scope": "global"}]))


def test_group_scope_accepts_cli_scope_as_plain_text() -> None:
    assert arguments(ask(Scope.GROUP, "groups", "config", "update", model="cli_scope"))["model"] == "cli_scope"


def test_verb_without_a_scope_is_refused_by_name() -> None:
    assert forbidden(ask(Scope.GROUP, "wirings", "list")).startswith("wirings ")
    assert forbidden(ask(Scope.GROUP, "things", "list")).startswith("things ")


def test_help_lists_only_reachable_verbs() -> None:
    commands = {entry["command"] for entry in ask(Scope.GROUP, "help").data}
    assert commands == {
        "help",
        "groups get",
        "groups config update",
        "sessions list",
        "sessions get",
        "destinations list",
        "members list",
    }


def test_help_marks_parameters_that_are_filled_in() -> None:
    (entry,) = ask(Scope.GROUP, "help", "members").data
    assert entry["parameters"][0]["is_filled_in"]
    entry, _ = ask(Scope.GROUP, "help", "groups").data
    first = entry["parameters"][0]
    assert (first["name"], first["is_filled_in"], first["is_required"]) == ("id", True, False)


def test_group_scope_refuses_status() -> None:
    forbidden(ask(Scope.GROUP, "status"))


def test_group_is_filled_in_as_the_scope_parameter() -> None:
    assert arguments(ask(Scope.GROUP, "sessions", "list")) == {"agent_group_id": OWN}
    assert arguments(ask(Scope.GROUP, "destinations", "list")) == {"agent_group_id": OWN}
    assert arguments(ask(Scope.GROUP, "members", "list")) == {"group": OWN}


@pytest.mark.parametrize("spelling", ["agent_group_id", "agent-group-id"])
def test_group_scope_refuses_another_group_in_any_name(spelling: str) -> None:
    forbidden(ask(Scope.GROUP, "sessions", "list", **{spelling: FOREIGN}))
    forbidden(ask(Scope.GROUP, "members", "list", group=FOREIGN))


@pytest.mark.defect(number=49)
@pytest.mark.parametrize("order", [("agent_group_id", "agent-group-id"), ("agent-group-id", "agent_group_id")])
def test_two_spellings_of_the_group_are_refused(order: tuple[str, str]) -> None:
    for first, second in ((OWN, FOREIGN), (FOREIGN, OWN), (OWN, OWN)):
        answer = ask(Scope.GROUP, "sessions", "list", **{order[0]: first, order[1]: second})
        assert answer.code in (Code.FORBIDDEN, Code.INVALID_ARGS)


def test_global_scope_must_name_its_target() -> None:
    assert arguments(ask(Scope.GLOBAL, "groups", "get", FOREIGN)) == {"id": FOREIGN}
    assert arguments(ask(Scope.GLOBAL, "wirings", "list")) == {}
    assert ask(Scope.GLOBAL, "groups", "get").code is Code.INVALID_ARGS
    assert (
        arguments(ask(Scope.GLOBAL, "groups", "config", "update", FOREIGN, cli_scope="group"))["cli_scope"] == "group"
    )


@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.GLOBAL])
def test_operator_only_verb_is_hidden_from_agents(scope: Scope) -> None:
    forbidden(ask(scope, "secrets", "show", OWN))
    assert "secrets show" not in {entry["command"] for entry in ask(scope, "help").data}


def test_operator_needs_no_scope() -> None:
    assert arguments(ask(Scope.DISABLED, "groups", "get", FOREIGN, caller=OPERATOR)) == {"id": FOREIGN}


@pytest.mark.parametrize(("scope", "limit"), [(Scope.GROUP, OWN), (Scope.GLOBAL, None)])
def test_filtering_verb_receives_the_scope(scope: Scope, limit: GroupId | None) -> None:
    assert ask(scope, "sessions", "list").data["scope_group_id"] == limit


def test_foreign_and_missing_sessions_look_alike() -> None:
    assert ask(Scope.GROUP, "sessions", "get", "ses-own").data == {"id": "ses-own"}
    foreign, unknown = (ask(Scope.GROUP, "sessions", "get", name) for name in ("ses-foreign", "ses-none"))
    assert foreign.code is unknown.code is Code.NOT_FOUND
    assert (foreign.message or "").replace("foreign", "none") == unknown.message


@pytest.mark.defect(number=56)
def test_boolean_as_id_is_answered() -> None:
    assert ask(Scope.GROUP, "sessions", "get", id=True).code is Code.INVALID_ARGS


SPELLINGS = st.sampled_from(["cli_scope", "cli-scope", "CLI_SCOPE", "Cli-Scope", "--cli-scope"])


@given(
    st.recursive(
        SPELLINGS.map(lambda key: {key: 1}),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=2)
            | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=2)
            | inner.map(json.dumps)
        ),
    )
)
def test_names_scope_finds_nested_keys(value: Any) -> None:
    assert names_scope(value)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_names_scope_ignores_other_values(value: Any) -> None:
    if "scope" not in json.dumps(value).casefold():
        assert not names_scope(value)


@pytest.mark.invariant(number=8)
def test_verb_without_a_scope_is_invisible() -> None:
    limited = Caller(session_id=SessionId("ses-own"), agent_group_id=OWN, scope_group_id=OWN)
    assert [full_name(known_verb) for known_verb in VERBS if not is_visible(known_verb, limited)] == [
        "wirings list",
        "things list",
        "secrets show",
    ]
