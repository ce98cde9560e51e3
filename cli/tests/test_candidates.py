"""What may come next on a command line, among a host's verbs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli.completion.candidates import PATHS, after, choices, nouns


def parameter(name: str, kind: str = "str", text: str = "", *, positional: bool = False) -> dict[str, object]:
    return {"name": name, "kind": kind, "help": text, "is_positional": positional, "is_required": positional}


VERBS = [
    {"command": "rooms list", "help": "list", "parameters": [parameter("kind", text="one of chat, card")]},
    {
        "command": "rooms config update",
        "help": "change",
        "parameters": [
            parameter("id", positional=True),
            parameter("apt", "list"),
            parameter("effort", text="low, medium, high or max"),
            parameter("max_messages", "int"),
            parameter("is_open", "bool"),
        ],
    },
    {"command": "rooms config get", "help": "show", "parameters": []},
    {"command": "help", "help": "what can be asked", "parameters": []},
]


def words(*typed: str, current: str = "") -> list[str]:
    return [one.word for one in after(typed, current, VERBS)]


def test_the_first_words_are_nouns_with_their_verbs_and_verbs_that_stand_alone():
    assert list(nouns(VERBS)) == [("rooms", "list, config"), ("help", "what can be asked")]


def test_after_a_noun_come_its_verbs_and_help():
    assert words("rooms") == ["list", "config", "help"]
    assert words("rooms", "config") == ["update", "get"]
    assert words("nothing") == []


def test_after_a_verb_come_its_options_that_are_not_given_yet():
    assert words("rooms", "config", "update") == ["--id", "--apt", "--effort", "--max-messages", "--is-open"]
    assert words("rooms", "config", "update", "ag-1") == ["--apt", "--effort", "--max-messages", "--is-open"]
    assert "--max-messages" not in words("rooms", "config", "update", "--max_messages", "3", "--apt", "jq")
    assert "--apt" in words("rooms", "config", "update", "--apt", "jq")


def test_after_an_option_come_its_values():
    assert words("rooms", "config", "update", "--effort") == ["low", "medium", "high", "max"]
    assert words("rooms", "config", "update", current="--effort=m") == [
        "--effort=low",
        "--effort=medium",
        "--effort=high",
        "--effort=max",
    ]


def test_after_an_option_that_is_a_flag_come_yes_and_no_and_the_other_options():
    assert words("rooms", "config", "update", "ag-1", "--is-open")[:3] == ["true", "false", "--apt"]


def test_where_an_option_takes_anything_a_path_may_stand():
    assert after(["rooms", "config", "update", "--max-messages"], "", VERBS) == list(PATHS)


def test_after_two_dashes_nothing_is_known():
    assert words("rooms", "--", "list") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one of pattern, mention, mention-sticky", ["pattern", "mention", "mention-sticky"]),
        ("when it answers; one of pattern, mention", ["pattern", "mention"]),
        ("what it reaches: disabled, group or global", ["disabled", "group", "global"]),
        ("gateway (the model alone), open or none", ["gateway", "open", "none"]),
        ("what runs the model loop: claude, mock, …", []),
        ("all, none, or names with commas between", []),
        ("a note", []),
        ("", []),
    ],
)
def test_choices_are_what_the_help_of_a_parameter_lists(text, found):
    assert choices(parameter("x", text=text)) == found


@given(
    st.lists(st.sampled_from(["rooms", "config", "update", "list", "--apt", "--effort=x", "ag-1", "--id"]), min_size=1)
)
def test_whatever_is_typed_no_option_is_offered_a_second_time(typed):
    found = words(*typed, current="--")
    assert len(found) == len(set(found))
