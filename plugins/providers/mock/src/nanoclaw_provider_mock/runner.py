"""Runner half of the mock provider."""

from __future__ import annotations

from nanoclaw_runner.provider import Provider, ProviderContext, ProviderOffer, RunnerPlugin


def nanoclaw_runner_plugin() -> RunnerPlugin:
    """Contribute `mock`."""
    return RunnerPlugin(name="mock", providers=[ProviderOffer(name="mock", connect=connect)])


def connect(context: ProviderContext) -> Provider:
    """Create the provider.

    Raises:
        ValueError: The script is invalid.
    """
    from nanoclaw_provider_mock.provider import MockProvider

    return MockProvider(context)
