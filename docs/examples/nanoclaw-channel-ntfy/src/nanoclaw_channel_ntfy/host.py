"""An ntfy topic as a room: what is published there reaches the agent, and the agent's answers are published.

Without this plugin: nobody is heard or answered on ntfy; other channels go on as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nanoclaw_channel_ntfy.rows import create_positions
from nanoclaw_core import Admission, Channel, Migration, Verdict, Vote, hookimpl

if TYPE_CHECKING:
    from nanoclaw_channel_ntfy.adapter import NtfyAdapter
    from nanoclaw_core import PluginContext


@frozen(kw_only=True)
class Settings:
    """[plugins.ntfy] in nanoclaw.toml.

    Args:
        topic: Who knows it may write to the agent and read its answers.
        token: An access token, best written as `env:NAME`; empty for a topic that is open to everybody.
        poll_s: The pause between two looks, in seconds.
    """

    topic: str = field(validator=validators.matches_re(r"[-_A-Za-z0-9]{1,64}"))
    server: str = "https://ntfy.sh"
    token: str = field(default="", repr=False)
    poll_s: float = 5.0


@hookimpl
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute ntfy."""
    yield Channel(name="ntfy", connect=_connect, settings=Settings)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Make the table that says how far a topic was read."""
    yield Migration(name="positions", apply=create_positions)


@hookimpl
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Let in who knows the topic; of other channels this plugin knows nothing."""
    return Verdict(Vote.ALLOW, "knows the topic") if admission.address.channel == "ntfy" else None


def _connect(settings: Settings, context: PluginContext) -> NtfyAdapter:
    from nanoclaw_channel_ntfy.adapter import NtfyAdapter  # http is not paid for by listing plugins

    return NtfyAdapter(settings, context)
