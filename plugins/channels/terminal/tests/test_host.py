"""The hooks of the plugin."""

from __future__ import annotations

import apsw
import pytest
from nanoclaw_channel_terminal import host

from nanoclaw_core import Address, Admission, GroupId, UserId, Vote, WiringId


def admission(channel: str, user_id: str | None) -> Admission:
    return Admission(
        address=Address(channel, "local"),
        user_id=None if user_id is None else UserId(user_id),
        sender_name=None,
        agent_group_id=GroupId("ag-000000000001"),
        wiring_id=WiringId("wir-000000000001"),
        is_group=False,
        engaged=True,
    )


def test_nanoclaw_admit_message_admits_the_operator():
    verdict = host.nanoclaw_admit_message(admission("terminal", "terminal:operator"))
    assert verdict is not None
    assert verdict.vote is Vote.ALLOW


@pytest.mark.parametrize(
    ("channel", "user_id"),
    [
        ("terminal", "terminal:other"),
        ("telegram", "terminal:operator"),
        ("telegram", "telegram:1"),
        ("terminal", None),
    ],
)
def test_nanoclaw_admit_message_ignores_all_other_users(channel, user_id):
    assert host.nanoclaw_admit_message(admission(channel, user_id)) is None


def test_nanoclaw_rosters_names_the_operator_everywhere():
    (roster,) = host.nanoclaw_rosters()
    assert [list(roster.approvers(group, None)) for group in (None, GroupId("ag-000000000001"))] == [
        ["terminal:operator"],
        ["terminal:operator"],
    ]


def test_nanoclaw_channels_has_a_terminal_without_threads():
    (channel,) = host.nanoclaw_channels()
    assert (channel.name, channel.has_threads) == ("terminal", False)


def test_nanoclaw_migrations_create_only_own_tables():
    database = apsw.Connection(":memory:")
    for migration in host.nanoclaw_migrations():
        migration.apply(database)
    names = [name for (name,) in database.execute("SELECT tbl_name FROM sqlite_schema")]
    assert names
    assert all(name.startswith("terminal_") for name in names)
