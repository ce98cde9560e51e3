"""Providers, host half: the keys and hosts that a model loop in the sandbox needs, and which never go there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import field, frozen

from nanoclaw_core.descriptors.names import check_name


@frozen(kw_only=True)
class TokenCount:
    """What one call to an upstream used, as its answer says; None where it does not."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class UsageReader(Protocol):
    """Reads model and tokens out of an answer while it streams by."""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the decoded body, of any size. Must not raise, must not keep more than it needs."""

    def count(self) -> TokenCount:
        """Say what was seen so far."""


@frozen(kw_only=True)
class Upstream:
    """One address that sandboxes may reach through the gateway.

    Args:
        name: The first path segment in the sandbox: `http://127.0.0.1:PORT/<name>/…` goes to `<base_url>/…`.
        base_url: `https://api.anthropic.com`; a path in it is kept in front.
        headers: What the gateway adds: the credential. Never shown, never logged, never in the sandbox.
        append: List headers (`anthropic-beta`) whose value is added to what the sandbox sends, unless it is there.
        strip: Header names that are dropped from what the sandbox sends, lower case.
        missing: Why it cannot be used now, and what to do: "no model key: set …". None where it can.
        usage: Makes a reader per call from the answer's content type; None where the answers carry no usage.
    """

    name: str = field(validator=check_name)
    base_url: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    append: Mapping[str, str] = field(factory=dict)
    strip: frozenset[str] = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})
    missing: str | None = None
    usage: Callable[[str], UsageReader] | None = None


@frozen(kw_only=True)
class Provider:
    """What runs the model loop inside a sandbox.

    Args:
        name: Also the name of its runner half.
        runs_tools: True where the model can execute anything; such a provider never runs without isolation.
        upstreams: From settings and environment, what the gateway serves to its sandboxes.
        settings: The shape of [plugins.<name>].
        options: From settings and environment, what its runner half is told; secrets have no place here.
    """

    name: str = field(validator=check_name)
    runs_tools: bool
    upstreams: Callable[[Any, Mapping[str, str]], Sequence[Upstream]] = lambda _settings, _environment: ()
    settings: type | None = None
    options: Callable[[Any, Mapping[str, str]], Mapping[str, str]] = lambda _settings, _environment: {}
