"""Hides the secrets of MCP servers: the values of their environment, and arguments that look like a secret.

An argument looks like one by its option, its header, or the prefix of a usual token. Others stay, so the environment is
the better place for a secret.

All functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"
_SECRET = r"[\w.-]{0,60}(?:key|token|secret|passw|auth|credential|cookie|header)[\w.-]{0,60}"  # a longer one is slow
_PAIR = re.compile(rf"(-{{0,2}}{_SECRET}\s*[=:]\s*).+", re.IGNORECASE | re.DOTALL)  # `--token=…`, `Authorization: …`
_FLAG = re.compile(rf"-H|--?{_SECRET}", re.IGNORECASE)  # the next argument is its value
_TOKEN = re.compile(r"(?<![\w-])(?:sk-|gh[opsu]_|github_pat_|glpat-|xox[abps]-|AKIA|eyJ)[\w.-]{8,}")
_USER = re.compile(r"(://)[^/@\s]+@")
_QUERY = re.compile(rf"([?&]{_SECRET}=)[^&#]+", re.IGNORECASE)


def masked_servers(servers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the servers of a config without their secrets. The names of variables and headers stay."""
    return {name: masked_server(server) for name, server in servers.items()}


def masked_server(server: Mapping[str, Any]) -> dict[str, Any]:
    """Return a server without its secrets."""
    return {**server, "args": _masked_words(server.get("args", [])), "env": dict.fromkeys(server.get("env", {}), MASK)}


def _masked_words(words: Sequence[str]) -> list[str]:
    pairs = zip(["", *words], words, strict=False)  # each word with the one before it
    return [_masked(word, is_value=bool(_FLAG.fullmatch(before))) for before, word in pairs]


def _masked(word: str, *, is_value: bool) -> str:
    if (pair := _PAIR.fullmatch(word)) is not None:
        return f"{pair[1]}{MASK}"
    if is_value:
        return f"{word.partition(':')[0]}: {MASK}" if ":" in word else MASK
    return _TOKEN.sub(MASK, _QUERY.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", word)))
