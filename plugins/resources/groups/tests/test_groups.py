"""`ncl groups` on a running host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agents_host import hosted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nanoclaw_resource_groups.names import check_name, folder_for

from nanoclaw_core import InvalidArguments
from nanoclaw_core.instance import create_agent_group
from nanoclaw_core.testing.instance import Instance


def counts(instance: Instance) -> tuple[int, int, int]:
    tables = ("agent_groups", "container_configs")
    rows = [instance.db.execute(f"SELECT count(*) FROM {table}").get for table in tables]
    return (*rows, len(list(instance.places.groups.iterdir())))


def test_warning_16_a_group_is_made_whole_and_answers_a_message(nanoclaw_instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with hosted(nanoclaw_instance) as host:
            made = await host.ncl.data("groups", "create", name="Ada's helper")
            assert (made["name"], made["folder"]) == ("Ada's helper", "ada-s-helper")
            assert await host.ncl.data("groups", "get", made["id"]) == made
            assert counts(nanoclaw_instance) == (1, 1, 1)
            text = (nanoclaw_instance.places.groups / "ada-s-helper" / "CLAUDE.md").read_text()
            assert text.startswith("# Ada's helper\n")
            nanoclaw_instance.wire(folder="ada-s-helper")
            await host.running.channel.say("hi")
            return await host.running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "groups create needs --name"),
        ({"name": ""}, "--name must be one line"),
        ({"name": "  "}, "--name must be one line"),
        ({"name": "two\nlines"}, "--name must be one line"),
        ({"name": "\ud800"}, "--name must be a text"),
        ({"name": "x" * 101}, "--name must be one line of 1 to 100"),
        ({"name": True}, "--name must be a text"),
        ({"name": "数据"}, "no folder can be made of the name '数据'; give one with --folder"),
        ({"name": "Global"}, "not `global`"),
        ({"name": "X", "folder": "../x"}, "with the folder '../x'"),
        ({"name": "X", "folder": "/etc"}, "with the folder '/etc'"),
        ({"name": "X", "folder": "\ud800"}, "--folder must be a text"),
        ({"name": "X", "id": "ag-1"}, "unknown option --id"),
    ],
)
def test_warning_16_a_group_that_cannot_be_is_refused_and_leaves_nothing(
    nanoclaw_instance: Instance, options: dict[str, Any], says: str
) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            code, message = await host.ncl.refusal("groups", "create", **options)
            assert (code, says in message) == ("invalid-args", True), message
            assert counts(nanoclaw_instance) == (0, 0, 0)

    asyncio.run(scenario())


def test_warning_16_a_folder_that_cannot_be_made_leaves_no_row(nanoclaw_instance: Instance) -> None:
    (nanoclaw_instance.places.groups / "ada").write_text("a file in its place")

    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            _, message = await host.ncl.refusal("groups", "create", name="Ada")
            assert await host.ncl.data("groups", "list") == []
            return message

    assert "groups/ada cannot be made: " in asyncio.run(scenario())


def test_a_link_that_an_agent_left_in_a_folder_is_not_written_through(
    nanoclaw_instance: Instance, tmp_path: Path
) -> None:
    folder, outside = nanoclaw_instance.places.groups / "left", tmp_path / "outside"
    folder.mkdir()
    (folder / "CLAUDE.md").symlink_to(outside)

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            assert (await host.ncl.data("groups", "create", name="Left"))["folder"] == "left"

    asyncio.run(scenario())
    assert not outside.exists()


def test_a_folder_belongs_to_one_group(nanoclaw_instance: Instance) -> None:
    async def scenario() -> tuple[str, str]:
        async with hosted(nanoclaw_instance) as host:
            await host.ncl.data("groups", "create", name="Ada")
            return await host.ncl.refusal("groups", "create", name="Ada")

    assert asyncio.run(scenario()) == ("invalid-args", "the folder 'ada' belongs to another agent group")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Straße", "strasse"),
        ("STRASSE", "strasse"),
        ("Ærø", "aero"),
        ("Łódź", "lodz"),
        ("Đà Nẵng", "da-nang"),
        ("Þórr", "thorr"),
        ("İzmir", "izmir"),
        ("Œuvre n° 2", "oeuvre-n-2"),
    ],
)
def test_a_folder_keeps_the_latin_letters_of_a_name(name: str, folder: str) -> None:
    """Letters that Unicode does not take apart are spelled out instead of dropped."""
    assert folder_for(name) == folder


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(max_size=120), folder=st.none() | st.text(max_size=70))
def test_no_name_makes_a_folder_outside_or_half_a_group(
    nanoclaw_instance: Instance, name: str, folder: str | None
) -> None:
    before = counts(nanoclaw_instance)
    try:
        check_name(name)
        wanted = folder or folder_for(name)
        create_agent_group(nanoclaw_instance.db, nanoclaw_instance.places, name=name, folder=wanted)
    except InvalidArguments:
        assert counts(nanoclaw_instance) == before
    else:
        assert counts(nanoclaw_instance) == tuple(count + 1 for count in before)


def test_a_name_changes_and_a_folder_does_not(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group("ada")

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            changed = await host.ncl.data("groups", "update", group.id, name="Ada Lovelace")
            assert (changed["name"], changed["folder"]) == ("Ada Lovelace", "ada")
            for name in ("", None, "two\nlines"):
                code, _ = await host.ncl.refusal("groups", "update", group.id, name=name)
                assert code == "invalid-args"
            code, message = await host.ncl.refusal("groups", "update", group.id, folder="other")
            assert (code, "unknown option --folder" in message) == ("invalid-args", True)
            assert (await host.ncl.data("groups", "get", group.id))["name"] == "Ada Lovelace"

    asyncio.run(scenario())


def test_warning_17_a_group_goes_with_its_config_and_leaves_its_folder(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group("ada")

    async def scenario() -> Any:
        async with hosted(nanoclaw_instance) as host:
            return await host.ncl.data("groups", "delete", group.id)

    deleted = asyncio.run(scenario())["deleted"]
    assert (deleted["id"], deleted["folder"]) == (group.id, "ada")
    assert counts(nanoclaw_instance) == (0, 0, 1)
    assert (nanoclaw_instance.places.groups / "ada" / "CLAUDE.md").exists()


def test_a_group_takes_its_destination_names_along(nanoclaw_instance: Instance) -> None:
    """The names mean rooms for this agent alone, so they refer to nothing that somebody else needs."""
    group = nanoclaw_instance.group()
    add = "INSERT INTO destinations VALUES (?, 'family', 'channel', 'mg-1', 'auto', ?)"
    nanoclaw_instance.db.execute(add, (group.id, group.created_at))

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            await host.ncl.data("groups", "delete", group.id)

    asyncio.run(scenario())
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM destinations").get == 0


def test_warning_17_a_group_that_is_wired_goes_only_with_its_wirings(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group()
    nanoclaw_instance.wire()

    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            _, message = await host.ncl.refusal("groups", "delete", group.id)
            assert counts(nanoclaw_instance) == (1, 1, 1)
            await host.ncl.data("groups", "delete", group.id, cascade=True)
            return message

    assert "1 in wirings; give --cascade to take them along" in asyncio.run(scenario())
    assert counts(nanoclaw_instance) == (0, 0, 1)
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM wirings").get == 0


def test_warning_17_a_group_that_had_a_conversation_stays_with_it(nanoclaw_instance: Instance) -> None:
    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            _, message = await host.ncl.refusal("groups", "delete", session.agent_group_id, cascade=True)
            return message

    assert "1 in sessions" in asyncio.run(scenario())
    assert counts(nanoclaw_instance) == (1, 1, 1)


def test_an_agent_sees_and_renames_its_own_group_and_makes_none(nanoclaw_instance: Instance) -> None:
    other = nanoclaw_instance.group("other")

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            own = session.agent_group_id
            listed = await host.as_agent(session, "groups", "list")
            assert [row["id"] for row in listed["data"]] == [own]
            assert (await host.as_agent(session, "groups", "get"))["data"]["id"] == own
            assert (await host.as_agent(session, "groups", "get", other.id))["error"]["code"] == "forbidden"
            made = await host.as_agent(session, "groups", "create", name="Mine")
            assert made["error"]["code"] == "forbidden"
            renamed = await host.approved(session, "groups", "update", name="Me")
            assert renamed["data"]["name"] == "Me"
            told = await host.as_agent(session, "help", "groups")
            assert "groups create" not in [verb["command"] for verb in told["data"]]

    asyncio.run(scenario())


def test_an_agent_whose_scope_is_global_makes_a_group_once_a_human_says_yes(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            host.scope(session.agent_group_id, "global")
            wrong = await host.as_agent(session, "groups", "create", name="")
            assert wrong["error"]["code"] == "invalid-args"
            made = await host.approved(session, "groups", "create", name="Second")
            assert made["data"]["folder"] == "second"

    asyncio.run(scenario())
