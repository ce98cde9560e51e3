"""Completion of a verb's command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli.completion.candidates import PATHS, first_words, listed_choices, next_words


def parameter(name: str, kind: str = "str", *choices: str, positional: bool = False) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "help": "",
        "is_positional": positional,
        "is_required": positional,
        "choices": list(choices),
    }


VERBS = [
    {"command": "rooms list", "help": "list", "parameters": [parameter("kind", "str", "chat", "card")]},
    {
        "command": "rooms config update",
        "help": "change",
        "parameters": [
            parameter("id", positional=True),
            parameter("apt", "list"),
            parameter("effort", "str", "low", "medium", "high", "max"),
            parameter("max_messages", "int"),
            parameter("is_open", "bool"),
        ],
    },
    {"command": "rooms config get", "help": "show", "parameters": []},
    {"command": "help", "help": "list the verbs", "parameters": []},
]


def words(*typed: str, current: str = "") -> list[str]:
    return [candidate.word for candidate in next_words(typed, current, VERBS)]


def test_first_words_are_resources_and_lone_verbs():
    assert list(first_words(VERBS)) == [("rooms", "list, config"), ("help", "list the verbs")]


def test_next_words_after_a_resource_are_verbs_and_help():
    assert words("rooms") == ["list", "config", "help"]
    assert words("rooms", "config") == ["update", "get"]
    assert words("nothing") == []


def test_next_words_after_a_verb_are_unused_options():
    assert words("rooms", "config", "update") == ["--id", "--apt", "--effort", "--max-messages", "--is-open"]
    assert words("rooms", "config", "update", "ag-1") == ["--apt", "--effort", "--max-messages", "--is-open"]
    assert "--max-messages" not in words("rooms", "config", "update", "--max_messages", "3", "--apt", "jq")
    assert "--apt" in words("rooms", "config", "update", "--apt", "jq")


def test_next_words_after_an_option_are_its_values():
    assert words("rooms", "config", "update", "--effort") == ["low", "medium", "high", "max"]
    assert words("rooms", "config", "update", current="--effort=m") == [
        "--effort=low",
        "--effort=medium",
        "--effort=high",
        "--effort=max",
    ]


def test_next_words_after_a_flag_are_values_and_options():
    assert words("rooms", "config", "update", "ag-1", "--is-open")[:3] == ["true", "false", "--apt"]


def test_next_words_after_a_free_option_are_paths():
    assert next_words(["rooms", "config", "update", "--max-messages"], "", VERBS) == list(PATHS)


def test_next_words_after_two_dashes_are_unknown():
    assert words("rooms", "--", "list") == []


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"choices": ["pattern", "mention"]}, ["pattern", "mention"]),
        ({"choices": []}, []),
        ({"choices": "pattern"}, []),
        ({"help": "one of pattern, mention"}, []),
        ({"kind": "bool"}, ["true", "false"]),
        ({}, []),
    ],
)
def test_listed_choices_are_those_of_the_parameter(described, expected):
    """A host of another version may leave the field out.

    Words of the help are never parsed.
    """
    assert listed_choices(described) == expected


@given(
    st.lists(st.sampled_from(["rooms", "config", "update", "list", "--apt", "--effort=x", "ag-1", "--id"]), min_size=1)
)
def test_next_words_never_repeat_an_option(typed):
    options = words(*typed, current="--")
    assert len(options) == len(set(options))
