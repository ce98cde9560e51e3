"""Help for people, from a host's descriptions of its verbs."""

from __future__ import annotations

import pytest
from nanoclaw_client.help_text import explain, matching_verbs, overview, verb_names

UPDATE = {
    "command": "groups update",
    "help": "change one of the groups",
    "access": "needs-approval",
    "parameters": [
        {"name": "agent_group_id", "kind": "str", "is_positional": True, "is_required": True, "help": "the agent"},
        {"name": "name", "kind": "str", "is_required": True, "help": "its display name"},
        {"name": "is_fast", "kind": "bool", "help": ""},
        {"name": "apt", "kind": "list", "help": "a package"},
    ],
}


def test_explain_shows_usage_and_every_parameter() -> None:
    assert explain([UPDATE]).splitlines() == [
        "ncl groups update <agent-group-id> --name TEXT [options]",
        "    change one of the groups (agents need an approval)",
        "      --agent-group-id TEXT  the agent",
        "      --name TEXT            its display name",
        "      --is-fast",
        "      --apt TEXT…            a package",
    ]


def test_explain_marks_a_parameter_filled_in_for_an_agent() -> None:
    own = {**UPDATE["parameters"][0], "is_required": False, "is_filled_in": True}  # type: ignore[index]
    usage, _, line, *_ = explain([{**UPDATE, "parameters": [own]}]).splitlines()
    assert usage == "ncl groups update [<agent-group-id>]"
    assert line == "      --agent-group-id TEXT  the agent (filled in with your own)"


@pytest.mark.parametrize(("access", "note"), [("allowed", ""), ("operator-only", " (operator only)"), ("new", "")])
def test_explain_names_the_access_unless_it_is_open(access: str, note: str) -> None:
    _, description = explain([{"command": "x", "help": "does it", "access": access}]).splitlines()
    assert description == f"    does it{note}"


@pytest.mark.parametrize("data", [None, "text", 7, [], [None, 7], [{}], [{"command": None, "parameters": [3]}]])
def test_help_of_another_version_is_no_error(data: object) -> None:
    assert isinstance(explain(data), str)
    assert isinstance(overview(data), str)


VERBS = [{"command": name} for name in ("groups list", "groups config get", "groups config update", "groups update")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["groups"], ["groups list", "groups config get", "groups config update", "groups update"]),
        (["groups", "config"], ["groups config get", "groups config update"]),
        (["groups", "config", "update"], ["groups config update"]),
        (["groups", "config", "update", "ag-1"], ["groups config update"]),
        (["groups", "lis"], ["groups list", "groups config get", "groups config update", "groups update"]),
    ],
)
def test_matching_verbs_uses_the_longest_prefix(words: list[str], names: list[str]) -> None:
    assert verb_names(matching_verbs(VERBS, words)) == names
