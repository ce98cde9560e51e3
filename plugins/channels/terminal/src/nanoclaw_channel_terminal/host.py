"""The terminal channel.

Every process that can open the instance's socket acts as its owner.

Without this plugin: no `ncl chat`, and the user of the machine is not the owner. Other channels are unaffected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nanoclaw_channel_terminal import rows
from nanoclaw_channel_terminal.protocol import NAME, OPERATOR
from nanoclaw_core import Channel, Roster, UserId, Verdict, Vote, hookimpl

if TYPE_CHECKING:
    from nanoclaw_core import Admission, ChannelAdapter, GroupId, Migration, PluginContext

USER = UserId(f"{NAME}:{OPERATOR}")


@hookimpl
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute the terminal channel."""
    yield Channel(name=NAME, connect=_connect)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Contribute the tables of stored messages and of the open card."""
    return rows.MIGRATIONS


@hookimpl
def nanoclaw_rosters() -> Iterable[Roster]:
    """Contribute the operator as approver of every agent group."""
    yield Roster(name=NAME, approvers=_approvers)


@hookimpl
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Admit the operator on this channel. Return None for all other users."""
    if admission.address.channel == NAME and admission.user_id == USER:
        return Verdict(Vote.ALLOW, "the operator at the terminal")
    return None


def _connect(_settings: object, context: PluginContext) -> ChannelAdapter:
    from nanoclaw_channel_terminal.adapter import TerminalAdapter

    return TerminalAdapter(context)


def _approvers(_agent_group_id: GroupId | None, _context: PluginContext) -> Iterable[UserId]:
    return (USER,)
