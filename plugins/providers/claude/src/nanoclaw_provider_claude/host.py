"""Lets agent groups use Claude: declares the Anthropic API as the upstream of their sandboxes, and its credential.

The credential stays on the host, and the model gateway attaches it. It is the first of these that is set:

1. `api_key`, then `oauth_token` of [plugins.claude];
2. `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, `CLAUDE_CODE_OAUTH_TOKEN` of the host's environment.

Without this plugin: there is no provider `claude`. Agent groups that name it report an error, and other providers are
unaffected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from attrs import field, frozen

from nanoclaw_core import Provider, SandboxRequirements, Secret, Upstream, between, hookimpl
from nanoclaw_provider_claude.usage import MessagesUsage

DEFAULT_BASE_URL = "https://api.anthropic.com"
OAUTH_BETA = "oauth-2025-04-20"  # without it the API refuses a subscription's token

NO_KEY = (
    "no model key: set ANTHROPIC_API_KEY (from https://platform.claude.com/settings/keys) or CLAUDE_CODE_OAUTH_TOKEN"
    " (from `claude setup-token`) in the host's environment, or api_key in [plugins.claude] of nanoclaw.toml, and"
    " restart the host"
)


@frozen(kw_only=True)
class Settings:
    """The table [plugins.claude] of nanoclaw.toml.

    Args:
        base_url: Address of another service with the Messages API. Not set: `ANTHROPIC_BASE_URL` of the host.
        api_key: The API key, preferably as `env:NAME` or `file:PATH`.
        oauth_token: A subscription's token instead of a key, preferably as `env:NAME` or `file:PATH`.
        max_retries: How often claude retries a failed model call within one turn.
        compact_at_tokens: Size in tokens at which claude summarises a conversation to save space.
    """

    base_url: str | None = None
    api_key: Secret = Secret()
    oauth_token: Secret = Secret()
    max_retries: int = field(default=3, validator=between(0, 100))
    compact_at_tokens: int = field(default=165_000, validator=between(1_000, 10_000_000))


def upstreams(settings: Settings, environment: Mapping[str, str]) -> list[Upstream]:
    """Return the upstream `anthropic`, with the credential from the settings or the environment."""
    kind, secret = _credential(settings, environment)
    return [
        Upstream(
            name="anthropic",
            base_url=settings.base_url or environment.get("ANTHROPIC_BASE_URL") or DEFAULT_BASE_URL,
            headers=_headers(kind, secret),
            append={"anthropic-beta": OAUTH_BETA} if kind is _Kind.SUBSCRIPTION else {},
            missing=None if secret else NO_KEY,
            usage=MessagesUsage,
        )
    ]


def options(settings: Settings, _environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options of the runner half."""
    return {"max_retries": str(settings.max_retries), "compact_at_tokens": str(settings.compact_at_tokens)}


@hookimpl
def nanoclaw_providers() -> Iterator[Provider]:
    """Contribute `claude`."""
    yield Provider(name="claude", runs_tools=True, settings=Settings, upstreams=upstreams, options=options)


@hookimpl
def nanoclaw_sandbox_requirements() -> Iterator[SandboxRequirements]:
    """Add the runner half to the image, with the SDK and its program."""
    yield SandboxRequirements(name="claude", distribution="nanoclaw-provider-claude")


class _Kind(Enum):
    """The way in which a credential is sent."""

    API_KEY = "x-api-key"
    BEARER = "bearer token, for services in front of the API"
    SUBSCRIPTION = "bearer token of a Claude subscription"


def _credential(settings: Settings, environment: Mapping[str, str]) -> tuple[_Kind, str]:
    """Return the first credential that is set; an empty one if none is."""
    candidates = (
        (_Kind.API_KEY, settings.api_key.reveal()),
        (_Kind.SUBSCRIPTION, settings.oauth_token.reveal()),
        (_Kind.API_KEY, environment.get("ANTHROPIC_API_KEY")),
        (_Kind.BEARER, environment.get("ANTHROPIC_AUTH_TOKEN")),
        (_Kind.SUBSCRIPTION, environment.get("CLAUDE_CODE_OAUTH_TOKEN")),
    )
    stripped = ((kind, (secret or "").strip()) for kind, secret in candidates)  # a file ends with a line break
    return next(((kind, secret) for kind, secret in stripped if secret), (_Kind.API_KEY, ""))


def _headers(kind: _Kind, secret: str) -> dict[str, str]:
    if not secret:
        return {}
    return {"x-api-key": secret} if kind is _Kind.API_KEY else {"authorization": f"Bearer {secret}"}
