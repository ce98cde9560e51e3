"""A command line, taken apart."""

from __future__ import annotations

import pytest
from nanoclaw_client.arguments import parse_verb, take_global_options
from nanoclaw_client.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "words", "options"),
    [
        (["groups", "list"], ["groups", "list"], {}),
        (["groups", "get", "ag-0123456789ab"], ["groups", "get", "ag-0123456789ab"], {}),
        (["groups", "update", "--name", "Ada"], ["groups", "update"], {"name": "Ada"}),
        (["groups", "update", "--name=Ada"], ["groups", "update"], {"name": "Ada"}),
        (["groups", "update", "--name="], ["groups", "update"], {"name": ""}),
        (["groups", "update", "--model=null"], ["groups", "update"], {"model": None}),
        (["groups", "update", "--model", "null"], ["groups", "update"], {"model": "null"}),
        (["groups", "list", "--all", "--limit", "5"], ["groups", "list"], {"all": True, "limit": "5"}),
        (["x", "--tag", "a", "--tag=b", "--tag", "c"], ["x"], {"tag": ["a", "b", "c"]}),
        (["x", "--offset", "-5"], ["x"], {"offset": "-5"}),
        (["x", "--equation=a=b"], ["x"], {"equation": "a=b"}),
        (["x", "--", "--not-an-option", "-n"], ["x", "--not-an-option", "-n"], {}),
        (["x", "--all", "--", "word"], ["x", "word"], {"all": True}),
        (["groups", "--help"], ["groups", "help"], {}),
        (["x", "--text", "a b  c"], ["x"], {"text": "a b  c"}),
    ],
)
def test_a_verb_is_words_and_options(typed, words, options):
    assert parse_verb(typed) == (words, options)


@pytest.mark.parametrize("word", ["-x", "-la"])
def test_short_options_are_refused_with_a_hint(word):
    with pytest.raises(UsageError, match=r"options are written --name"):
        parse_verb(["groups", word])


def test_an_option_without_a_name_is_refused():
    with pytest.raises(UsageError, match="no option"):
        parse_verb(["groups", "--=value"])


@pytest.mark.parametrize("typed", [["--home", "/h", "status"], ["status", "--home=/h"], ["status", "--home", "/h"]])
def test_the_home_may_stand_anywhere(typed):
    choice = take_global_options(typed)
    assert (choice.home, choice.words) == ("/h", ["status"])


def test_the_global_options_end_at_two_hyphens():
    choice = take_global_options(["chat", "--", "--json", "--home"])
    assert (choice.as_json, choice.home, choice.words) == (False, None, ["chat", "--", "--json", "--home"])


def test_version_is_an_option_only_in_front():
    assert take_global_options(["--version"]).version
    assert not take_global_options(["groups", "--version"]).version


@pytest.mark.parametrize("typed", [["--home"], ["--home="]])
def test_a_home_without_a_path_is_refused(typed):
    with pytest.raises(UsageError, match="--home needs a path"):
        take_global_options(typed)
