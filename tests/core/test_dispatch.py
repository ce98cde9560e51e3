"""Dispatch: words and options become a verb with typed arguments.

Each failure has a code.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.frames import Answer, Code, Request

from nanoclaw_core import Access, Caller, InvalidArguments, NanoclawError, NotFound, Parameter, PluginContext, Verb
from nanoclaw_core.dispatch import Dispatch, full_name, typed_arguments
from nanoclaw_core.guard import Guard
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.scope import Scope

OPERATOR = Caller(operator=True)
PARAMETERS = (
    Parameter(name="id", is_positional=True, is_required=True, help="which group"),
    Parameter(name="max_messages", kind=int),
    Parameter(name="ratio", kind=float),
    Parameter(name="force", kind=bool),
    Parameter(name="tags", kind=list),
    Parameter(name="note", is_positional=True),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


class CustomError(NanoclawError):
    """An error that a plugin defines, with a code of its own."""

    code: ClassVar[str] = "custom"


async def echo(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> Any:
    return dict(arguments)


def verb(name: str, run: Any = echo, access: Access = Access.ALLOWED, parameters: Any = PARAMETERS) -> Verb:
    return Verb(resource="groups", name=name, access=access, run=run, parameters=parameters)


def dispatch(*verbs: Verb, scope: Scope = Scope.GLOBAL) -> Dispatch:
    context = PluginContext(
        plugin="acme",
        instance_id="0" * 12,
        home=Path("/nowhere"),
        data_dir=Path("/nowhere"),
        run_dir=Path("/nowhere"),
        environment={},
        database=None,  # type: ignore[arg-type]  # no verb here uses it
    )
    guard = Guard(db=apsw.Connection(":memory:"), plugins=Plugins())
    return Dispatch(
        verbs={full_name(added): Contribution(added, "acme") for added in verbs},
        guard=guard,
        scope_of=lambda _group_id: scope,
        plugin_context=lambda _plugin: context,
    )


def ask(offered: Dispatch, *words: str, caller: Caller = OPERATOR, **options: Any) -> Answer:
    return asyncio.run(offered.answer(Request(id="7", words=list(words), options=options), caller))


def typed(**options: Any) -> dict[str, Any]:
    return typed_arguments(verb("update"), ["ag-1"], options)


def refused(**options: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        typed(**options)
    return str(caught.value)


# Arguments


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("max_messages", "12", 12),
        ("max_messages", 12, 12),
        ("max_messages", "-3", -3),
        ("ratio", "0.5", 0.5),
        ("ratio", 2, 2.0),
        ("ratio", "2", 2.0),
        ("force", True, True),
        ("force", "yes", True),
        ("force", "FALSE", False),
        ("force", "0", False),
        ("tags", "one", ["one"]),
        ("tags", ["one", "two"], ["one", "two"]),
        ("note", "12", "12"),
        ("note", None, None),
    ],
)
def test_value_is_converted_to_its_parameter_kind(name: str, given_value: object, expected: object) -> None:
    value = typed(**{name: given_value})[name]
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.defect(number=17)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_messages", "many"),
        ("max_messages", "1.5"),
        ("max_messages", 1.5),
        ("max_messages", True),
        ("max_messages", ""),
        ("ratio", "half"),
        ("ratio", "nan"),
        ("ratio", "inf"),
        ("ratio", float("nan")),
        ("ratio", True),
        ("ratio", 10**400),
        ("max_messages", 10**400),
        ("force", "maybe"),
        ("force", 1),
        ("note", 12),
        ("note", True),
        ("note", ["a", "b"]),
        ("id", {"a": 1}),
    ],
)
def test_value_of_another_kind_is_refused(name: str, value: object) -> None:
    if name == "id":
        with pytest.raises(InvalidArguments, match="--id must be a string"):
            typed_arguments(verb("update"), [], {"id": value})
    else:
        assert f"--{name.replace('_', '-')} must be" in refused(**{name: value})


@pytest.mark.defect(number=15)
def test_words_fill_positional_parameters_in_order() -> None:
    """A hyphen in a word does not make it an option."""
    arguments = typed_arguments(verb("update"), ["ag-1", "-a note-"], {})
    assert arguments == {"id": "ag-1", "note": "-a note-"}


def test_positional_parameter_can_be_given_as_option() -> None:
    assert typed_arguments(verb("update"), ["a note"], {"id": "ag-1"}) == {"id": "ag-1", "note": "a note"}


def test_surplus_word_is_named() -> None:
    with pytest.raises(InvalidArguments, match="unexpected argument 'three'"):
        typed_arguments(verb("update"), ["one", "two", "three"], {})


def test_hyphens_and_underscores_are_equivalent() -> None:
    assert typed(**{"max-messages": 3}) == typed(max_messages=3)


@pytest.mark.defect(number=49)
def test_both_spellings_of_an_option_are_refused() -> None:
    assert "given in two spellings" in refused(**{"max-messages": 3, "max_messages": 4})


def test_unknown_option_suggests_the_nearest() -> None:
    assert "unknown option --max-message. Did you mean --max-messages?" in refused(**{"max-message": 3})


def test_unknown_option_without_match_lists_all_options() -> None:
    assert "Known options: --id, --max-messages, --ratio, --force, --tags, --note" in refused(xyz=1)


@pytest.mark.parametrize("options", [{}, {"id": None}])
def test_missing_required_parameter_is_named_with_its_help(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments, match="groups update needs --id: which group"):
        typed_arguments(verb("update"), [], options)


@given(
    st.lists(st.text(), max_size=4), st.dictionaries(st.text() | st.sampled_from([p.name for p in PARAMETERS]), JSON)
)
def test_any_arguments_are_typed_or_refused(rest: list[str], options: dict[str, Any]) -> None:
    try:
        arguments = typed_arguments(verb("update"), rest, options)
    except InvalidArguments:
        return
    kinds = {parameter.name: parameter.kind for parameter in PARAMETERS}
    assert all(value is None or type(value) is kinds[name] for name, value in arguments.items())


# Verbs


def test_longest_verb_wins() -> None:
    offered = dispatch(verb("config"), verb("config get"))
    assert ask(offered, "groups", "config", "get", "ag-1").data == {"id": "ag-1"}
    assert ask(offered, "groups", "config", "set").data == {"id": "set"}


def test_unknown_command_suggests_the_nearest() -> None:
    answer = ask(dispatch(verb("list")), "groups", "lsit")
    assert answer.code is Code.UNKNOWN_COMMAND
    assert "Did you mean `groups list`?" in (answer.message or "")


def test_help_for_unknown_command_repeats_the_command() -> None:
    answer = ask(dispatch(verb("list")), "groups", "lsit", "help")
    assert "no command 'groups lsit'. Did you mean `groups list`?" in (answer.message or "")


def test_empty_command_is_unknown() -> None:
    assert ask(dispatch(verb("list"))).code is Code.UNKNOWN_COMMAND


def test_many_words_are_answered_briefly() -> None:
    answer = ask(dispatch(verb("list")), *["word"] * 200_000)
    assert answer.code is Code.UNKNOWN_COMMAND
    assert len(answer.message or "") < 1000


def test_answer_repeats_the_request_id() -> None:
    assert ask(dispatch(verb("list")), "groups", "list", "x") == Answer(id="7", ok=True, data={"id": "x"})


def raising(error: Exception) -> Verb:
    async def run(_arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> Any:
        raise error

    return verb("list", run, parameters=())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("no such group"), Code.NOT_FOUND),
        (InvalidArguments("no"), Code.INVALID_ARGS),
        (NanoclawError("no"), Code.HANDLER_ERROR),
        (CustomError("no"), Code.HANDLER_ERROR),
        (ZeroDivisionError("by nothing"), Code.HANDLER_ERROR),
        (ExceptionGroup("several", [ValueError("a")]), Code.HANDLER_ERROR),
    ],
)
def test_error_maps_to_a_code(error: Exception, code: Code) -> None:
    answer = ask(dispatch(raising(error)), "groups", "list")
    assert (answer.ok, answer.code) == (False, code)
    assert str(error) in (answer.message or "")


@pytest.mark.invariant(number=8)
def test_unknown_caller_gets_nothing() -> None:
    answer = ask(dispatch(verb("list", parameters=())), "groups", "list", caller=Caller())
    assert (answer.ok, answer.code) == (False, Code.FORBIDDEN)


@given(
    st.lists(st.text() | st.sampled_from(["groups", "list", "update"]), max_size=5), st.dictionaries(st.text(), JSON)
)
def test_any_request_is_answered(words: list[str], options: dict[str, Any]) -> None:
    offered = dispatch(verb("list"), verb("update", parameters=()))
    answer = asyncio.run(offered.answer(Request(id="7", words=words, options=options), OPERATOR))
    assert answer.ok or answer.code in (Code.UNKNOWN_COMMAND, Code.INVALID_ARGS)
    assert json.loads(answer.as_line())["ok"] is answer.ok


def nested(levels: int) -> dict[str, Any]:
    """Return a value that is nested too deeply for its `repr`."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "got no value"),
        (["a", "b"], "got several values"),
        ("\ud800", r"got '\ud800'"),
        (nested(100_000), "got a dict"),
        ({"a": "x" * 100_000}, f"got {{'a': '{'x' * 73}"),
    ],
    ids=range(5),
)
def test_invalid_string_is_refused_with_the_reason(value: object, said: str) -> None:
    named = verb("rename", parameters=[Parameter(name="title")])
    answer = ask(dispatch(named), "groups", "rename", title=value)
    assert answer.message == f"groups rename: --title must be a string, {said}"
