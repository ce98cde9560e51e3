"""Providers, host half: the keys and hosts of a model loop, which never enter the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import field, frozen

from nanoclaw_core.descriptors.names import check_name


@frozen(kw_only=True)
class TokenCount:
    """Token usage of one call to an upstream, from its answer; None for a value that it lacks."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class UsageReader(Protocol):
    """Reads the model and the token counts from a streaming answer."""

    def feed(self, chunk: bytes) -> None:
        """Read the next piece of the decoded body, of any size.

        Must not raise, and must keep little memory.
        """

    def count(self) -> TokenCount:
        """Return the usage seen so far."""


@frozen(kw_only=True)
class Upstream:
    """One address that sandboxes may reach through the gateway.

    Args:
        name: The first path segment in the sandbox: `http://127.0.0.1:PORT/<name>/…` goes to `<base_url>/…`.
        base_url: `https://api.anthropic.com`. A path in it becomes a prefix.
        headers: The headers that the gateway adds, with the credential. They are never shown or logged, and never enter
            the sandbox.
        append: Values that the gateway adds to list headers (`anthropic-beta`) of the sandbox's request, unless they
            are in it.
        strip: Lower-case names of headers that the gateway removes from the sandbox's request.
        missing: Why it cannot be used now, with the remedy: "no model key: set …". None if it can.
        usage: Makes a reader for one call from the answer's content type; None if the answers have no usage.
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
    """A provider, which runs the model loop in a sandbox.

    Args:
        name: Also the name of its runner half.
        runs_tools: True if the model can execute commands. Such a provider never runs without isolation.
        upstreams: Returns the upstreams for its sandboxes from settings and environment.
        settings: The shape of [plugins.<name>].
        options: Returns the options for its runner half from settings and environment. They must not have secrets.
    """

    name: str = field(validator=check_name)
    runs_tools: bool
    upstreams: Callable[[Any, Mapping[str, str]], Sequence[Upstream]] = lambda _settings, _environment: ()
    settings: type | None = None
    options: Callable[[Any, Mapping[str, str]], Mapping[str, str]] = lambda _settings, _environment: {}
