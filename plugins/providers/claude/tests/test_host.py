"""What the host half declares, from settings and environment."""

from __future__ import annotations

from nanoclaw_provider_claude import host
from nanoclaw_provider_claude.host import Settings

from nanoclaw_core import Upstream


def _upstream(environment: dict[str, str], **settings: str) -> Upstream:
    [upstream] = host.upstreams(Settings(**settings), environment)
    return upstream


def test_without_a_key_the_upstream_says_what_is_missing_and_what_to_do() -> None:
    upstream = _upstream({})
    assert upstream.headers == {}
    assert upstream.missing is not None
    assert "ANTHROPIC_API_KEY" in upstream.missing
    assert "CLAUDE_CODE_OAUTH_TOKEN" in upstream.missing


def test_a_key_is_attached_as_the_platform_wants_it() -> None:
    upstream = _upstream({"ANTHROPIC_API_KEY": "key\n"})
    assert (upstream.headers, upstream.append, upstream.missing) == ({"x-api-key": "key"}, {}, None)


def test_a_subscriptions_token_brings_its_beta_header() -> None:
    upstream = _upstream({"CLAUDE_CODE_OAUTH_TOKEN": "token"})
    assert upstream.headers == {"authorization": "Bearer token"}
    assert upstream.append == {"anthropic-beta": "oauth-2025-04-20"}


def test_a_key_goes_before_a_subscription_and_settings_before_the_environment() -> None:
    environment = {"ANTHROPIC_API_KEY": "key", "CLAUDE_CODE_OAUTH_TOKEN": "token"}
    assert _upstream(environment).headers == {"x-api-key": "key"}
    assert _upstream(environment, oauth_token="mine").headers == {"authorization": "Bearer mine"}


def test_an_empty_variable_is_no_key() -> None:
    assert _upstream({"ANTHROPIC_API_KEY": " ", "CLAUDE_CODE_OAUTH_TOKEN": "token"}).append


def test_the_address_comes_from_settings_then_environment_then_the_platform() -> None:
    environment = {"ANTHROPIC_BASE_URL": "https://proxy.example"}
    assert _upstream(environment, base_url="https://mine.example").base_url == "https://mine.example"
    assert _upstream(environment).base_url == "https://proxy.example"
    assert _upstream({}).base_url == "https://api.anthropic.com"


def test_no_secret_shows_in_settings_upstream_or_options() -> None:
    settings = Settings(api_key="hidden", oauth_token="hidden")
    [upstream] = host.upstreams(settings, {})
    assert "hidden" not in f"{settings!r} {upstream!r} {host.options(settings, {})!r}"


def test_the_plugin_offers_a_provider_that_runs_tools_and_its_part_of_the_image() -> None:
    [provider], [part] = host.nanoclaw_providers(), host.nanoclaw_sandbox_requirements()
    assert (provider.name, provider.runs_tools) == ("claude", True)
    assert part.distribution == "nanoclaw-provider-claude"
