"""Pure parsers of command lines.

A verb's command line has positional words and options: `--key value`, `--key=value`, a repeated key (a list), a key
without a value (true), `--key=null` (an explicit null; an empty value stays an empty string), and `--`, after which
every word is positional. The host converts values to their types, because only the host knows the verb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_client.errors import UsageError

GLOBAL_OPTIONS = ("--home", "--json", "--version", "--help")


class GlobalOptions(NamedTuple):
    """The options that every command accepts, and the remaining words."""

    home: str | None
    as_json: bool
    version: bool
    words: list[str]


class VerbRequest(NamedTuple):
    """A verb's words and options, as the request frame carries them."""

    words: list[str]
    options: dict[str, Any]


def parse_global_options(arguments: Sequence[str]) -> GlobalOptions:
    """Separate `--home PATH`, `--json` and a leading `--version` from the other arguments.

    Arguments after `--` are never global options.

    Raises:
        UsageError: `--home` has no path.
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


def require_command_first(words: Sequence[str]) -> None:
    """Reject an option before the command.

    The global options are already removed, so an option in this place is unknown.

    Raises:
        UsageError: The first word is an option. The message suggests the most similar known option.
    """
    if words and words[0] != "--" and words[0].startswith("-"):
        option = words[0].partition("=")[0]
        hint = did_you_mean(option, GLOBAL_OPTIONS, "`ncl help` lists the options.", str)
        raise UsageError(f"{option}: unknown option. {hint}")


def parse_verb(arguments: Sequence[str]) -> VerbRequest:
    """Parse a verb's command line.

    `-h` and `--help` become the word `help`; later words and all options are dropped then.

    Raises:
        UsageError: An option is short, which verbs do not support, or has no name.
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
            return VerbRequest([*words, "help"], {})
        if word.startswith("--"):
            key, value = _option(word, rest)
            _add(options, key, value)
        elif _is_short_option(word):
            raise UsageError(
                f"{word}: verbs have no short options. Write --name, --name={word} for a value that begins with a dash,"
                " or `--` before positional words."
            )
        else:
            words.append(word)
    return VerbRequest(words, options)


def _value(word: str, rest: list[str]) -> str:
    value = word.partition("=")[2] if "=" in word else (rest.pop(0) if rest else "")
    if not value:
        raise UsageError("--home: the path is missing. For example: `ncl --home ~/.nanoclaw status`.")
    return value


def _option(word: str, rest: list[str]) -> tuple[str, Any]:
    key, equals, text = word[2:].partition("=")
    if not key:
        raise UsageError(f"{word}: the option has no name. Write --name=value.")
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
