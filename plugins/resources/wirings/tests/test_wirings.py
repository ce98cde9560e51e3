"""Tests of `ncl wirings` on a running host."""

from __future__ import annotations

import asyncio

import nanoclaw_resource_messaging_groups.host as messaging_groups
import nanoclaw_resource_registry.host as registry
import nanoclaw_resource_wirings.host as wirings
import pytest
from registry_host import client

from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance

PLUGINS = {"registry": registry, "wirings": wirings, "messaging-groups": messaging_groups}


@pytest.mark.defect(number=17)
def test_created_wiring_has_its_priority_and_engages(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group()

    async def scenario() -> list[str]:
        async with running_host(nanoclaw_instance, **PLUGINS) as running, client(nanoclaw_instance) as ncl:
            chat = await ncl.data("messaging-groups", "create", channel="recorder", room="r1")
            created = await ncl.data(
                "wirings",
                "create",
                **{"messaging-group-id": chat["id"], "agent-group-id": group.id, "priority": "7"},
                **{"engage-mode": "pattern", "engage-pattern": "."},
            )
            assert created["priority"] == 7
            await running.channel.say("hello", room="r1")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hello"]


@pytest.mark.defect(number=17)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engage-mode": "pattern"}, "engage mode 'pattern' needs one"),
        ({"engage-mode": "pattern", "engage-pattern": "("}, "is not a regular expression"),
        ({"engage-pattern": "hi"}, "only engage mode 'pattern' has one"),
        ({"engage-mode": "always"}, "--engage-mode must be one of pattern, mention, mention-sticky"),
        ({"priority": "high"}, "--priority must be an integer"),
    ],
)
def test_invalid_wiring_is_refused_when_created(nanoclaw_instance, options, says) -> None:
    group = nanoclaw_instance.group()

    async def scenario() -> None:
        async with running_host(nanoclaw_instance, **PLUGINS), client(nanoclaw_instance) as ncl:
            chat = await ncl.data("messaging-groups", "create", channel="recorder", room="r1")
            ids = {"messaging-group-id": chat["id"], "agent-group-id": group.id}
            code, message = await ncl.refusal("wirings", "create", **ids, **options)
            assert (code, says in message) == ("invalid-args", True), message
            assert await ncl.data("wirings", "list") == []

    asyncio.run(scenario())


def test_mode_without_a_pattern_needs_the_pattern_cleared(nanoclaw_instance: Instance) -> None:
    wiring = nanoclaw_instance.wire()

    async def scenario() -> None:
        async with running_host(nanoclaw_instance, **PLUGINS), client(nanoclaw_instance) as ncl:
            code, _ = await ncl.refusal("wirings", "update", wiring.id, **{"engage-mode": "mention"})
            assert code == "invalid-args"
            changed = await ncl.data(
                "wirings", "update", wiring.id, **{"engage-mode": "mention", "engage-pattern": None}
            )
            assert (changed["engage_mode"], changed["engage_pattern"]) == ("mention", None)

    asyncio.run(scenario())


def test_wiring_with_a_pattern_timeout_can_be_deleted(nanoclaw_instance: Instance) -> None:
    """The record of a timeout belongs to the wiring, so the deletion does not need `--cascade`."""
    wiring = nanoclaw_instance.wire()
    nanoclaw_instance.db.execute(
        "INSERT INTO pattern_timeouts SELECT id, engage_pattern, '2026-01-02T03:04:05.678Z' FROM wirings"
    )

    async def scenario() -> None:
        async with running_host(nanoclaw_instance, **PLUGINS), client(nanoclaw_instance) as ncl:
            await ncl.data("wirings", "delete", wiring.id)

    asyncio.run(scenario())
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM pattern_timeouts").get == 0
