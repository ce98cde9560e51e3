"""What was typed, taken apart by pure functions.

A verb's command line is positional words and options: `--key value`, `--key=value`, a repeated key (a list), a flag
alone (true), `--key=null` (an explicit null; an empty text stays an empty text), and `--` before words that only look
like options. What kind a value is structured into is the host's to say, which knows the verb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nanoclaw_client.errors import UsageError
from nanoclaw_client.suggestions import nearest

GLOBAL_OPTIONS = ("--home", "--json", "--version", "--help")


class GlobalOptions(NamedTuple):
    """The options that every command has, and the words that are left."""

    home: str | None
    as_json: bool
    version: bool
    words: list[str]


class Parsed(NamedTuple):
    """A verb's words and options, as a request frame wants them."""

    words: list[str]
    options: dict[str, Any]


def take_global_options(arguments: Sequence[str]) -> GlobalOptions:
    """Take `--home PATH`, `--json` and a leading `--version` out of the arguments; all stop at `--`.

    Raises:
        UsageError: `--home` without a path.
    """
    home: str | None = None
    as_json = version = False
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return GlobalOptions(home, as_json, version, [*words, word, *rest])
        if word == "--json":
            as_json = True
        elif word == "--home" or word.startswith("--home="):
            home = _value(word, rest)
        elif word in ("--version", "-V") and not words:
            version = True
        else:
            words.append(word)
    return GlobalOptions(home, as_json, version, words)


def refuse_option_before_command(words: Sequence[str]) -> None:
    """Refuse what is left of the options before a command: they are for `ncl` itself, and it has taken its own.

    Raises:
        UsageError: The first word is an option; the message names the nearest one that there is.
    """
    if words and words[0] != "--" and words[0].startswith("-"):
        option = words[0].partition("=")[0]
        near = nearest(option, GLOBAL_OPTIONS)
        hint = f"did you mean {near}?" if near else "`ncl help` lists what there is"
        raise UsageError(f"{option} is no option of ncl; {hint}")


def parse_verb(arguments: Sequence[str]) -> Parsed:
    """Take a verb's command line apart.

    `-h` and `--help` become the word `help`, and what else was typed does not matter then.

    Raises:
        UsageError: A short option, which verbs do not have, or an option without a name.
    """
    words: list[str] = []
    options: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words.extend(rest)
            break
        if word in ("-h", "--help"):
            return Parsed([*words, "help"], {})
        if word.startswith("--"):
            key, value = _option(word, rest)
            _add(options, key, value)
        elif _is_short_option(word):
            raise UsageError(
                f"no such option: {word}; options are written --name, a value that begins with a dash --name={word},"
                " and `--` ends them"
            )
        else:
            words.append(word)
    return Parsed(words, options)


def _value(word: str, rest: list[str]) -> str:
    value = word.partition("=")[2] if "=" in word else (rest.pop(0) if rest else "")
    if not value:
        raise UsageError("--home needs a path: ncl --home ~/.nanoclaw status")
    return value


def _option(word: str, rest: list[str]) -> tuple[str, Any]:
    key, equals, text = word[2:].partition("=")
    if not key:
        raise UsageError(f"{word!r} is no option; write --name=value")
    if equals:
        return key, None if text == "null" else text
    if rest and not rest[0].startswith("--") and not _is_short_option(rest[0]):
        return key, rest.pop(0)
    return key, True


def _add(options: dict[str, Any], key: str, value: Any) -> None:
    if key not in options:
        options[key] = value
    elif isinstance(options[key], list):
        options[key].append(value)
    else:
        options[key] = [options[key], value]


def _is_short_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and word[1].isalpha()
