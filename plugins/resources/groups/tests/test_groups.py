"""Tests of `ncl groups` on a running host."""

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
    return (*rows, len(list(instance.paths.groups.iterdir())))


@pytest.mark.defect(number=16)
def test_created_group_is_complete_and_answers_a_message(nanoclaw_instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with hosted(nanoclaw_instance) as host:
            created = await host.ncl.data("groups", "create", name="Ada's helper")
            assert (created["name"], created["folder"]) == ("Ada's helper", "ada-s-helper")
            assert await host.ncl.data("groups", "get", created["id"]) == created
            assert counts(nanoclaw_instance) == (1, 1, 1)
            text = (nanoclaw_instance.paths.groups / "ada-s-helper" / "CLAUDE.md").read_text()
            assert text.startswith("# Ada's helper\n")
            nanoclaw_instance.wire(folder="ada-s-helper")
            await host.running.channel.say("hi")
            return await host.running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.defect(number=16)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "groups create needs --name"),
        ({"name": ""}, "--name must be one line"),
        ({"name": "  "}, "--name must be one line"),
        ({"name": "two\nlines"}, "--name must be one line"),
        ({"name": "\ud800"}, "--name must be a string"),
        ({"name": "x" * 101}, "--name must be one line of 1 to 100"),
        ({"name": True}, "--name must be a string"),
        ({"name": "数据"}, "no Latin letter or digit for a folder name, got '数据'. Choose one with --folder"),
        ({"name": "Global"}, "except `global`"),
        ({"name": "X", "folder": "../x"}, "and the folder '../x'"),
        ({"name": "X", "folder": "/etc"}, "and the folder '/etc'"),
        ({"name": "X", "folder": "\ud800"}, "--folder must be a string"),
        ({"name": "X", "id": "ag-1"}, "unknown option --id"),
    ],
)
def test_invalid_group_is_refused_and_leaves_nothing(
    nanoclaw_instance: Instance, options: dict[str, Any], says: str
) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            code, message = await host.ncl.refusal("groups", "create", **options)
            assert (code, says in message) == ("invalid-args", True), message
            assert counts(nanoclaw_instance) == (0, 0, 0)

    asyncio.run(scenario())


@pytest.mark.defect(number=16)
def test_folder_that_cannot_be_created_leaves_no_row(nanoclaw_instance: Instance) -> None:
    (nanoclaw_instance.paths.groups / "ada").write_text("a file instead of the folder")

    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            _, message = await host.ncl.refusal("groups", "create", name="Ada")
            assert await host.ncl.data("groups", "list") == []
            return message

    assert "groups/ada cannot be created: " in asyncio.run(scenario())


def test_create_does_not_write_through_a_link_in_the_folder(nanoclaw_instance: Instance, tmp_path: Path) -> None:
    folder, outside = nanoclaw_instance.paths.groups / "left", tmp_path / "outside"
    folder.mkdir()
    (folder / "CLAUDE.md").symlink_to(outside)

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            assert (await host.ncl.data("groups", "create", name="Left"))["folder"] == "left"

    asyncio.run(scenario())
    assert not outside.exists()


def test_folder_of_another_group_is_refused(nanoclaw_instance: Instance) -> None:
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
def test_folder_keeps_the_latin_letters_of_the_name(name: str, folder: str) -> None:
    """Letters that Unicode does not decompose are transliterated, not dropped."""
    assert folder_for(name) == folder


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(max_size=120), folder=st.none() | st.text(max_size=70))
def test_any_name_creates_a_complete_group_or_nothing(
    nanoclaw_instance: Instance, name: str, folder: str | None
) -> None:
    before = counts(nanoclaw_instance)
    try:
        check_name(name)
        chosen = folder or folder_for(name)
        create_agent_group(nanoclaw_instance.db, nanoclaw_instance.paths, name=name, folder=chosen)
    except InvalidArguments:
        assert counts(nanoclaw_instance) == before
    else:
        assert counts(nanoclaw_instance) == tuple(count + 1 for count in before)


def test_update_changes_the_name_and_not_the_folder(nanoclaw_instance: Instance) -> None:
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


@pytest.mark.defect(number=17)
def test_delete_removes_the_config_and_keeps_the_folder(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group("ada")

    async def scenario() -> Any:
        async with hosted(nanoclaw_instance) as host:
            return await host.ncl.data("groups", "delete", group.id)

    deleted = asyncio.run(scenario())["deleted"]
    assert (deleted["id"], deleted["folder"]) == (group.id, "ada")
    assert counts(nanoclaw_instance) == (0, 0, 1)
    assert (nanoclaw_instance.paths.groups / "ada" / "CLAUDE.md").exists()


def test_delete_removes_the_destination_names(nanoclaw_instance: Instance) -> None:
    """Destination names belong to one agent, so they do not block its deletion."""
    group = nanoclaw_instance.group()
    add = "INSERT INTO destinations VALUES (?, 'family', 'channel', 'mg-1', 'auto', ?)"
    nanoclaw_instance.db.execute(add, (group.id, group.created_at))

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            await host.ncl.data("groups", "delete", group.id)

    asyncio.run(scenario())
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM destinations").get == 0


@pytest.mark.defect(number=17)
def test_delete_of_a_wired_group_needs_cascade(nanoclaw_instance: Instance) -> None:
    group = nanoclaw_instance.group()
    nanoclaw_instance.wire()

    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            _, message = await host.ncl.refusal("groups", "delete", group.id)
            assert counts(nanoclaw_instance) == (1, 1, 1)
            await host.ncl.data("groups", "delete", group.id, cascade=True)
            return message

    assert "1 in wirings. Add --cascade to delete them too" in asyncio.run(scenario())
    assert counts(nanoclaw_instance) == (0, 0, 1)
    assert nanoclaw_instance.db.execute("SELECT count(*) FROM wirings").get == 0


@pytest.mark.defect(number=17)
def test_group_with_a_session_cannot_be_deleted(nanoclaw_instance: Instance) -> None:
    async def scenario() -> str:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            _, message = await host.ncl.refusal("groups", "delete", session.agent_group_id, cascade=True)
            return message

    assert "1 in sessions" in asyncio.run(scenario())
    assert counts(nanoclaw_instance) == (1, 1, 1)


def test_agent_sees_and_renames_only_its_own_group(nanoclaw_instance: Instance) -> None:
    other = nanoclaw_instance.group("other")

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            own = session.agent_group_id
            listed = await host.as_agent(session, "groups", "list")
            assert [row["id"] for row in listed["data"]] == [own]
            assert (await host.as_agent(session, "groups", "get"))["data"]["id"] == own
            assert (await host.as_agent(session, "groups", "get", other.id))["error"]["code"] == "forbidden"
            refused = await host.as_agent(session, "groups", "create", name="Mine")
            assert refused["error"]["code"] == "forbidden"
            renamed = await host.approved(session, "groups", "update", name="Me")
            assert renamed["data"]["name"] == "Me"
            shown = await host.as_agent(session, "help", "groups")
            assert "groups create" not in [verb["command"] for verb in shown["data"]]

    asyncio.run(scenario())


def test_agent_of_global_scope_creates_a_group_if_approved(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            host.scope(session.agent_group_id, "global")
            refused = await host.as_agent(session, "groups", "create", name="")
            assert refused["error"]["code"] == "invalid-args"
            approved = await host.approved(session, "groups", "create", name="Second")
            assert approved["data"]["folder"] == "second"

    asyncio.run(scenario())
