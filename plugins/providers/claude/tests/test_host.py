"""The declarations of the host half, from settings and environment."""

from __future__ import annotations

from typing import Any

from nanoclaw_provider_claude import host
from nanoclaw_provider_claude.host import Settings

from nanoclaw_core import Secret, Upstream


def _upstream(environment: dict[str, str], **settings: Any) -> Upstream:
    [upstream] = host.upstreams(Settings(**settings), environment)
    return upstream


def test_upstream_without_key_names_the_remedy() -> None:
    upstream = _upstream({})
    assert upstream.headers == {}
    assert upstream.missing is not None
    assert "ANTHROPIC_API_KEY" in upstream.missing
    assert "CLAUDE_CODE_OAUTH_TOKEN" in upstream.missing


def test_upstream_sends_key_as_header() -> None:
    upstream = _upstream({"ANTHROPIC_API_KEY": "key\n"})
    assert (upstream.headers, upstream.append, upstream.missing) == ({"x-api-key": "key"}, {}, None)


def test_upstream_of_subscription_adds_beta_header() -> None:
    upstream = _upstream({"CLAUDE_CODE_OAUTH_TOKEN": "token"})
    assert upstream.headers == {"authorization": "Bearer token"}
    assert upstream.append == {"anthropic-beta": "oauth-2025-04-20"}


def test_credential_prefers_settings_then_key() -> None:
    environment = {"ANTHROPIC_API_KEY": "key", "CLAUDE_CODE_OAUTH_TOKEN": "token"}
    assert _upstream(environment).headers == {"x-api-key": "key"}
    assert _upstream(environment, oauth_token=Secret("mine")).headers == {"authorization": "Bearer mine"}


def test_credential_ignores_empty_variable() -> None:
    assert _upstream({"ANTHROPIC_API_KEY": " ", "CLAUDE_CODE_OAUTH_TOKEN": "token"}).append


def test_base_url_prefers_settings_then_environment() -> None:
    environment = {"ANTHROPIC_BASE_URL": "https://proxy.example"}
    assert _upstream(environment, base_url="https://mine.example").base_url == "https://mine.example"
    assert _upstream(environment).base_url == "https://proxy.example"
    assert _upstream({}).base_url == "https://api.anthropic.com"


def test_repr_of_settings_and_upstream_hides_secrets() -> None:
    settings = Settings(api_key=Secret("hidden"), oauth_token=Secret("hidden"))
    [upstream] = host.upstreams(settings, {})
    assert "hidden" not in f"{settings!r} {upstream!r} {host.options(settings, {})!r}"


def test_plugin_contributes_provider_and_requirements() -> None:
    [provider], [part] = host.nanoclaw_providers(), host.nanoclaw_sandbox_requirements()
    assert (provider.name, provider.runs_tools) == ("claude", True)
    assert part.distribution == "nanoclaw-provider-claude"
