"""Tests of the generated verbs of a resource on a running host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import evolve
from nanoclaw_resource_registry.verbs import verbs_of
from registry_host import BOOKS, Client, library

from nanoclaw_core.testing.instance import Instance

Scenario = Callable[[Client], Awaitable[None]]


@pytest.fixture
def run(nanoclaw_instance: Instance) -> Callable[[Scenario], None]:
    """Return a function that runs a scenario with a client of a host that has the library."""

    def run_scenario(scenario: Scenario) -> None:
        async def connect_and_run() -> None:
            async with library(nanoclaw_instance) as client:
                await scenario(client)

        asyncio.run(connect_and_run())

    return run_scenario


def add(nanoclaw_instance: Instance, *books: tuple[Any, ...]) -> None:
    for book in books:
        nanoclaw_instance.db.execute(
            "INSERT INTO library_books (id, title, pages, is_lent, binding, note) VALUES (?, ?, ?, ?, ?, ?)", book
        )


def test_create_stores_given_generated_and_default_values(run) -> None:
    async def scenario(client: Client) -> None:
        created = await client.data("books", "create", title="Emma", pages="474")
        assert created == {
            **{"id": "b1", "title": "Emma", "pages": 474, "is_lent": False},
            **{"binding": "hard", "note": None, "order": None, "tags": None},
        }
        assert created["is_lent"] is False  # the table stores 0
        assert await client.data("books", "get", "b1") == created
        assert await client.data("books", "list", columns="all") == [created]

    run(scenario)


@pytest.mark.defect(number=17)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs --title"),
        ({"title": "Emma", "pages": "many"}, "--pages must be an integer, got 'many'"),
        ({"title": "Emma", "pages": "nan"}, "--pages must be an integer"),
        ({"title": "Emma", "binding": "glue"}, "--binding must be one of hard, soft, got 'glue'"),
        ({"title": "Emma", "id": "b7"}, "unknown option --id"),
        ({"title": "Emma", "secret": "x"}, "unknown option --secret"),
        ({"title": "Emma", "pages": 2_000, "binding": "soft"}, "do not fit in a soft binding"),
        ({"title": None}, "needs --title"),
        ({"title": "Emma", "pages": 10**30}, "an integer is too large"),
        ({"title": "half \ud83d"}, "--title must be a string"),
        ({"title": True}, "--title must be a string"),
        ({"title": ""}, "--title must not be empty"),
    ],
)
def test_create_with_an_invalid_value_writes_nothing(run, options, says) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "create", **options)
        assert code == "invalid-args"
        assert says in message
        assert await client.data("books", "list") == []

    run(scenario)


def test_create_of_a_duplicate_names_the_unique_column(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, ("b7", "Emma", 1, 0, "hard", None))
        code, message = await client.refusal("books", "create", title="Emma")
        assert (code, message) == ("invalid-args", "books: another row has the same title")

    run(scenario)


@pytest.mark.defect(number=17)
def test_update_changes_given_columns_and_null_clears(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma", note="mine")
        changed = await client.data("books", "update", "b1", note=None, order=3, **{"is-lent": "yes"})
        assert (changed["note"], changed["order"], changed["is_lent"], changed["title"]) == (None, 3, True, "Emma")

    run(scenario)


@pytest.mark.parametrize(
    ("key", "options", "code", "says"),
    [
        ("b1", {}, "invalid-args", "no value is given. Give at least one of --title, --pages"),
        ("b1", {"title": None}, "invalid-args", "--title must not be empty"),
        ("b1", {"title": ""}, "invalid-args", "--title must not be empty"),
        ("b1", {"binding": "glue"}, "invalid-args", "--binding must be one of hard, soft, got 'glue'"),
        ("b1", {"pages": 5_000, "binding": "soft"}, "invalid-args", "soft binding"),
        ("b9", {"pages": 5}, "not-found", "books: none has the id 'b9'. `ncl books list` shows them"),
        ("b1", {"tags": "x"}, "invalid-args", "unknown option --tags"),
    ],
)
def test_invalid_update_leaves_the_row_unchanged(run, key, options, code, says) -> None:
    async def scenario(client: Client) -> None:
        before = await client.data("books", "create", title="Emma")
        actual_code, message = await client.refusal("books", "update", key, **options)
        assert actual_code == code
        assert says in message
        assert await client.data("books", "get", "b1") == before

    run(scenario)


def test_list_filters_sorts_and_pages(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        books = [(f"b{number}", f"t{number}", number, 0, "soft", None) for number in range(5)]
        add(nanoclaw_instance, *books, ("b9", "t9", 9, 1, "hard", "x"))

        async def ids(**options: Any) -> list[str]:
            return [row["id"] for row in await client.data("books", "list", **options)]

        assert await ids(binding="soft", limit=2) == ["b0", "b1"]
        assert await ids(binding="soft", limit=2, offset=3) == ["b3", "b4"]
        assert await ids(sort="-pages", limit=2) == ["b9", "b4"]
        assert await ids(note=None, limit=1) == ["b0"]
        assert await ids(**{"is-lent": True}) == ["b9"]
        assert await ids(order=1) == []

    run(scenario)


@pytest.mark.defect(number=17)
def test_list_without_a_limit_shows_two_hundred_rows(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, *((f"b{number}", f"t{number}", 1, 0, "hard", None) for number in range(201)))
        assert len(await client.data("books", "list")) == 200
        assert client.progress == ["showing the first 200 rows; use --limit and --offset for more"]
        assert len(await client.data("books", "list", limit=300)) == 201
        assert client.progress == []

    run(scenario)


@pytest.mark.defect(number=17)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limit": "abc"}, "--limit must be an integer"),
        ({"limit": 0}, "--limit must be between 1 and 10000"),
        ({"offset": -1}, "--offset must be between 0 and 2^63 - 1, got -1"),
        ({"offset": 10**30}, "--offset must be between 0 and 2^63 - 1"),
        ({"sort": "secret"}, "--sort: books has no column 'secret'"),
        ({"sort": "id; DROP TABLE library_books"}, "no column"),
        ({"secret": "hidden"}, "unknown option --secret"),
    ],
)
def test_list_with_invalid_arguments_is_refused(run, options, says) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", **options)
        assert (code, says in message) == ("invalid-args", True), message

    run(scenario)


@pytest.mark.defect(number=15)
def test_id_with_hyphens_is_accepted_as_a_word(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, ("b-1-2", "Emma", 1, 0, "hard", None))
        assert (await client.data("books", "get", "b-1-2"))["title"] == "Emma"
        assert (await client.data("books", "get", id="b-1-2"))["title"] == "Emma"

    run(scenario)


@pytest.mark.defect(number=17)
def test_delete_of_a_referenced_row_needs_cascade(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma")
        await client.data("loans", "create", reader="ann", book="b1")
        code, message = await client.refusal("books", "delete", "b1")
        assert code == "forbidden"
        assert "1 in library_loans. Add --cascade" in message
        assert (await client.data("books", "delete", "b1", cascade=True))["deleted"]["id"] == "b1"
        assert await client.data("loans", "list") == []

    run(scenario)


def test_key_of_two_columns_is_given_in_their_order(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma")
        await client.data("loans", "create", reader="ann", book="b1")
        assert await client.data("loans", "get", "ann", "b1") == {"reader": "ann", "book": "b1"}
        assert await client.data("loans", "delete", "ann", "b1") == {"deleted": {"reader": "ann", "book": "b1"}}

    run(scenario)


def test_create_with_a_missing_reference_is_refused(run) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("loans", "create", reader="ann", book="b7")
        assert (code, message) == ("invalid-args", "loans: --book must name a row of library_books, got 'b7'")

    run(scenario)


def test_resource_has_only_its_declared_verbs(run) -> None:
    async def scenario(client: Client) -> None:
        code, _ = await client.refusal("loans", "update", "ann", "b1")
        assert code == "unknown-command"

    run(scenario)


def test_list_shows_only_the_requested_columns(run, nanoclaw_instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, ("b1", "Emma", 474, 0, "hard", None))
        assert await client.data("books", "list", columns="title,pages") == [{"title": "Emma", "pages": 474}]
        assert await client.data("books", "list", columns=["is-lent", "id"]) == [{"is_lent": False, "id": "b1"}]
        everything = await client.data("books", "get", "b1")
        assert await client.data("books", "list", columns="all") == [everything]
        assert await client.data("books", "list") == [{"id": "b1", "title": "Emma", "note": None}]
        assert await client.data("books", "list", columns=[]) == await client.data("books", "list")

    run(scenario)


@pytest.mark.parametrize("columns", ["secret", "title,secret", "", "all,title", 'title" FROM library_books --'])
def test_list_of_an_unknown_column_is_refused(run, columns: str) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", columns=columns)
        assert (code, "Known: id, title" in message) == ("invalid-args", True)

    run(scenario)


def test_create_names_the_missing_reference(run) -> None:
    async def scenario(client: Client) -> None:
        _, message = await client.refusal("loans", "create", reader="ann", book="b9")
        assert message == "loans: --book must name a row of library_books, got 'b9'"

    run(scenario)


def test_filter_outside_the_choices_is_refused(run) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", binding="leather")
        assert (code, message) == ("invalid-args", "books: --binding must be one of hard, soft, got 'leather'")

    run(scenario)


def test_help_of_create_shows_defaults(run) -> None:
    async def scenario(client: Client) -> None:
        (create,) = [verb for verb in await client.data("help", "books") if verb["command"] == "books create"]
        defaults = {parameter["name"]: parameter["default"] for parameter in create["parameters"]}
        choices = {parameter["name"]: parameter["choices"] for parameter in create["parameters"]}
        assert choices["binding"] == ["hard", "soft"]
        assert [defaults[name] for name in ("binding", "pages", "is_lent")] == ["hard", "1", "false"]

    run(scenario)


@pytest.mark.parametrize(
    ("name", "singular"),
    [("books", "book"), ("deliveries", "delivery"), ("messaging-groups", "messaging group"), ("boxes", "box")],
)
def test_help_names_one_row_in_the_singular(name: str, singular: str) -> None:
    helps = {verb.name: verb.help for verb in verbs_of(evolve(BOOKS, name=name))}
    assert (helps["get"], helps["delete"]) == (f"show one {singular}", f"delete one {singular}")
