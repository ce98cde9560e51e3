"""The terminal as a channel: whoever can open the instance's socket is its owner.

Without this plugin: no `ncl chat`, and nobody is owner by sitting at the machine; other channels go on as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nanoclaw_channel_terminal import rows
from nanoclaw_channel_terminal.names import NAME, OPERATOR
from nanoclaw_core import Channel, Roster, UserId, Verdict, Vote, hookimpl

if TYPE_CHECKING:
    from nanoclaw_core import Admission, ChannelAdapter, GroupId, Migration, PluginContext

USER = UserId(f"{NAME}:{OPERATOR}")


@hookimpl
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute the terminal."""
    yield Channel(name=NAME, connect=_connect)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Contribute the tables of what waits for a terminal."""
    return rows.MIGRATIONS


@hookimpl
def nanoclaw_rosters() -> Iterable[Roster]:
    """Name the operator as owner of everything."""
    yield Roster(name=NAME, approvers=_approvers)


@hookimpl
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Let the operator in, on this channel alone; of everybody else this plugin knows nothing."""
    if admission.address.channel == NAME and admission.user_id == USER:
        return Verdict(Vote.ALLOW, "the operator at the terminal")
    return None


def _connect(_settings: object, context: PluginContext) -> ChannelAdapter:
    from nanoclaw_channel_terminal.adapter import TerminalAdapter

    return TerminalAdapter(context)


def _approvers(_agent_group_id: GroupId | None, _context: PluginContext) -> Iterable[UserId]:
    return (USER,)
