"""Parsing of command lines."""

from __future__ import annotations

import pytest
from nanoclaw_client.arguments import parse_global_options, parse_verb
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
def test_parse_verb_returns_words_and_options(typed, words, options):
    assert parse_verb(typed) == (words, options)


@pytest.mark.parametrize("word", ["-x", "-la"])
def test_parse_verb_short_option_is_refused_with_hint(word):
    with pytest.raises(UsageError, match=r"verbs have no short options\. Write --name"):
        parse_verb(["groups", word])


def test_parse_verb_option_without_name_is_refused():
    with pytest.raises(UsageError, match="the option has no name"):
        parse_verb(["groups", "--=value"])


@pytest.mark.parametrize("typed", [["--home", "/h", "status"], ["status", "--home=/h"], ["status", "--home", "/h"]])
def test_global_options_home_is_found_anywhere(typed):
    options = parse_global_options(typed)
    assert (options.home, options.words) == ("/h", ["status"])


def test_global_options_end_at_two_hyphens():
    options = parse_global_options(["chat", "--", "--json", "--home"])
    assert (options.as_json, options.home, options.words) == (False, None, ["chat", "--", "--json", "--home"])


def test_global_options_version_counts_only_in_front():
    assert parse_global_options(["--version"]).version
    assert not parse_global_options(["groups", "--version"]).version


@pytest.mark.parametrize("typed", [["--home"], ["--home="]])
def test_global_options_home_without_path_is_refused(typed):
    with pytest.raises(UsageError, match="--home: the path is missing"):
        parse_global_options(typed)
