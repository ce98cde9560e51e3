"""Tests of the resources over the tables of the core."""

from __future__ import annotations

import asyncio
from importlib import import_module

import pytest
from nanoclaw_resource_registry import host as registry
from registry_host import client

from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance

RESOURCES = ("deliveries", "dropped-messages", "messaging-groups", "sessions", "users", "wirings")


@pytest.mark.parametrize("name", RESOURCES)
def test_resource_names_only_columns_of_its_table(nanoclaw_instance: Instance, name: str) -> None:
    [resource] = import_module(f"nanoclaw_resource_{name.replace('-', '_')}.host").nanoclaw_resources()
    table = {row[1]: row[2] for row in nanoclaw_instance.db.execute(f"PRAGMA table_info({resource.table})")}
    kinds = {"TEXT": str, "INTEGER": int}
    for column in resource.columns:
        assert column.kind is bool or kinds[table[column.name]] is column.kind, column.name
    assert set(resource.key) <= table.keys()


def test_rows_of_a_conversation_can_be_listed_and_shown(nanoclaw_instance: Instance) -> None:
    nanoclaw_instance.wire()
    modules = {name: import_module(f"nanoclaw_resource_{name.replace('-', '_')}.host") for name in RESOURCES}

    async def scenario() -> None:
        async with (
            running_host(nanoclaw_instance, registry=registry, **modules) as running,
            client(nanoclaw_instance) as ncl,
        ):
            await running.channel.say("hello", sender="U1", sender_name="Ann")
            await running.channel.texts(1)
            await running.channel.say("hey", room="unwired", is_mention=True)
            for name in RESOURCES:
                rows = await ncl.data(name, "list", columns="all")
                [row] = [row for row in rows if row.get("room") != "unwired" or name[0] == "d"]
                if name != "dropped-messages":
                    assert await ncl.data(name, "get", row["id"]) == row

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("channel", "user"), [("slack", "slack:"), ("slack", "discord:U1"), ("slack", "U1"), ("", ":U1")]
)
def test_user_id_without_its_channel_is_refused(nanoclaw_instance: Instance, channel: str, user: str) -> None:
    modules = {"registry": registry, "users": import_module("nanoclaw_resource_users.host")}

    async def scenario() -> str:
        async with running_host(nanoclaw_instance, **modules), client(nanoclaw_instance) as ncl:
            return (await ncl.refusal("users", "create", id=user, channel=channel))[0]

    assert asyncio.run(scenario()) == "invalid-args"
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM users").get == 0
