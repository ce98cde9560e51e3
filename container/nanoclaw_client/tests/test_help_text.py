"""Help as people read it, out of what a host says of its verbs."""

from __future__ import annotations

import pytest
from nanoclaw_client.help_text import about, explained, names, overview

UPDATE = {
    "command": "groups update",
    "help": "change one of the groups",
    "access": "hold",
    "parameters": [
        {"name": "agent_group_id", "kind": "str", "is_positional": True, "is_required": True, "help": "the agent"},
        {"name": "name", "kind": "str", "is_required": True, "help": "what people call it"},
        {"name": "is_fast", "kind": "bool", "help": ""},
        {"name": "apt", "kind": "list", "help": "a package"},
    ],
}


def test_a_verb_is_explained_with_everything_that_can_be_typed() -> None:
    assert explained([UPDATE]).splitlines() == [
        "ncl groups update <agent-group-id> --name TEXT [options]",
        "    change one of the groups (for an agent a human has to agree)",
        "      --agent-group-id TEXT  the agent",
        "      --name TEXT            what people call it",
        "      --is-fast",
        "      --apt TEXT…            a package",
    ]


def test_what_is_filled_in_for_an_agent_need_not_be_typed_and_says_so() -> None:
    own = {**UPDATE["parameters"][0], "is_required": False, "is_filled_in": True}  # type: ignore[index]
    usage, _, told, *_ = explained([{**UPDATE, "parameters": [own]}]).splitlines()
    assert usage == "ncl groups update [<agent-group-id>]"
    assert told == "      --agent-group-id TEXT  the agent (filled in: your own)"


@pytest.mark.parametrize(("access", "said"), [("open", ""), ("deny", " (for the operator alone)"), ("new", "")])
def test_who_may_ask_is_said_where_it_is_not_everybody(access: str, said: str) -> None:
    _, what = explained([{"command": "x", "help": "does it", "access": access}]).splitlines()
    assert what == f"    does it{said}"


@pytest.mark.parametrize("data", [None, "text", 7, [], [None, 7], [{}], [{"command": None, "parameters": [3]}]])
def test_whatever_a_host_of_another_version_says_is_no_error(data: object) -> None:
    assert isinstance(explained(data), str)
    assert isinstance(overview(data), str)


VERBS = [{"command": name} for name in ("groups list", "groups config get", "groups config update", "groups update")]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["groups"], ["groups list", "groups config get", "groups config update", "groups update"]),
        (["groups", "config"], ["groups config get", "groups config update"]),
        (["groups", "config", "update"], ["groups config update"]),
        (["groups", "config", "update", "ag-1"], ["groups config update"]),
        (["groups", "lis"], ["groups list", "groups config get", "groups config update", "groups update"]),
    ],
)
def test_help_is_about_what_was_typed(words: list[str], meant: list[str]) -> None:
    assert names(about(VERBS, words)) == meant
