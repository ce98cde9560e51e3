"""An ntfy topic as a room: published messages reach the agent, and the agent's answers are published.

Without this plugin: messages on ntfy are neither received nor answered. Other channels keep working.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen

from nanoclaw_channel_ntfy.rows import create_positions
from nanoclaw_core import Admission, Channel, Migration, Secret, Verdict, Vote, between, hookimpl, matches

if TYPE_CHECKING:
    from nanoclaw_channel_ntfy.adapter import NtfyAdapter
    from nanoclaw_core import PluginContext


@frozen(kw_only=True)
class Settings:
    """[plugins.ntfy] in nanoclaw.toml.

    Args:
        topic: The topic. Everyone who knows it may write to the agent and read its answers.
        server: The address of the server, without a slash at the end.
        token: An access token, preferably as `env:NAME`. Empty for a public topic.
        poll_s: The pause between two polls, in seconds.
    """

    topic: str = field(validator=matches(r"[-_A-Za-z0-9]{1,64}"))
    server: str = "https://ntfy.sh"
    token: Secret = Secret()
    poll_s: float = field(default=5.0, validator=between(0.01, 86_400))


@hookimpl
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute the channel."""
    yield Channel(name="ntfy", connect=_connect, settings=Settings)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Contribute the table of read positions."""
    yield Migration(name="positions", apply=create_positions)


@hookimpl
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Admit every message of the topic. Abstain for other channels."""
    return Verdict(Vote.ALLOW, "the sender knows the topic") if admission.address.channel == "ntfy" else None


def _connect(settings: Settings, context: PluginContext) -> NtfyAdapter:
    from nanoclaw_channel_ntfy.adapter import NtfyAdapter  # keeps the listing of plugins fast

    return NtfyAdapter(settings, context)
