"""What the verbs of a noun do, asked of a running host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from registry_host import Client, library

from nanoclaw_core.testing.instance import Instance

Scenario = Callable[[Client], Awaitable[None]]


@pytest.fixture
def run(nanoclaw_instance: Instance) -> Callable[[Scenario], None]:
    """Run a scenario with a client of a host that has the library."""

    def run_one(scenario: Scenario) -> None:
        async def whole() -> None:
            async with library(nanoclaw_instance) as client:
                await scenario(client)

        asyncio.run(whole())

    return run_one


def add(nanoclaw_instance: Instance, *books: tuple[Any, ...]) -> None:
    for book in books:
        nanoclaw_instance.db.execute(
            "INSERT INTO library_books (id, title, pages, is_lent, binding, note) VALUES (?, ?, ?, ?, ?, ?)", book
        )


def test_what_is_created_has_what_was_given_what_is_generated_and_defaults(run) -> None:
    async def scenario(client: Client) -> None:
        made = await client.data("books", "create", title="Emma", pages="474")
        assert made == {
            **{"id": "b1", "title": "Emma", "pages": 474, "is_lent": False},
            **{"binding": "hard", "note": None, "order": None, "tags": None},
        }
        assert made["is_lent"] is False  # and not 0, as the table has it
        assert await client.data("books", "get", "b1") == made
        assert await client.data("books", "list", columns="all") == [made]

    run(scenario)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs --title"),
        ({"title": "Emma", "pages": "many"}, "--pages must be a whole number, not 'many'"),
        ({"title": "Emma", "pages": "nan"}, "--pages must be a whole number"),
        ({"title": "Emma", "binding": "glue"}, "--binding must be one of hard, soft, not 'glue'"),
        ({"title": "Emma", "id": "b7"}, "unknown option --id"),
        ({"title": "Emma", "secret": "x"}, "unknown option --secret"),
        ({"title": "Emma", "pages": 2_000, "binding": "soft"}, "do not hold in a soft binding"),
        ({"title": None}, "needs --title"),
        ({"title": "Emma", "pages": 10**30}, "a number is too large"),
        ({"title": "half \ud83d"}, "--title must be a text"),
        ({"title": True}, "--title must be a text"),
        ({"title": ""}, "--title must not be empty"),
    ],
)
def test_warning_17_what_does_not_fit_is_refused_before_anything_is_written(run, options, says) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "create", **options)
        assert code == "invalid-args"
        assert says in message
        assert await client.data("books", "list") == []

    run(scenario)


def test_a_second_row_with_what_is_unique_is_refused_in_plain_words(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, ("b7", "Emma", 1, 0, "hard", None))
        code, message = await client.refusal("books", "create", title="Emma")
        assert (code, message) == ("invalid-args", "books: there is one already with the same title")

    run(scenario)


def test_warning_17_update_changes_what_is_given_and_null_empties(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma", note="mine")
        changed = await client.data("books", "update", "b1", note=None, order=3, **{"is-lent": "yes"})
        assert (changed["note"], changed["order"], changed["is_lent"], changed["title"]) == (None, 3, True, "Emma")

    run(scenario)


@pytest.mark.parametrize(
    ("key", "options", "code", "says"),
    [
        ("b1", {}, "invalid-args", "nothing to change; there are --title, --pages"),
        ("b1", {"title": None}, "invalid-args", "--title must not be empty"),
        ("b1", {"title": ""}, "invalid-args", "--title must not be empty"),
        ("b1", {"binding": "glue"}, "invalid-args", "--binding must be one of hard, soft, not 'glue'"),
        ("b1", {"pages": 5_000, "binding": "soft"}, "invalid-args", "soft binding"),
        ("b9", {"pages": 5}, "not-found", "there is none with id 'b9'"),
        ("b1", {"tags": "x"}, "invalid-args", "unknown option --tags"),
    ],
)
def test_a_change_that_does_not_fit_leaves_the_row_as_it_was(run, key, options, code, says) -> None:
    async def scenario(client: Client) -> None:
        before = await client.data("books", "create", title="Emma")
        found, message = await client.refusal("books", "update", key, **options)
        assert found == code
        assert says in message
        assert await client.data("books", "get", "b1") == before

    run(scenario)


def test_a_list_filters_sorts_and_pages(run, nanoclaw_instance: Instance) -> None:
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


def test_warning_17_two_hundred_rows_are_listed_where_nobody_says_how_many(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, *((f"b{number}", f"t{number}", 1, 0, "hard", None) for number in range(201)))
        assert len(await client.data("books", "list")) == 200
        assert client.progress == ["these are the first 200; --limit and --offset show more, where there is more"]
        assert len(await client.data("books", "list", limit=300)) == 201
        assert client.progress == []

    run(scenario)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limit": "abc"}, "--limit must be a whole number"),
        ({"limit": 0}, "--limit must be between 1 and 10000"),
        ({"offset": -1}, "--offset must not be negative"),
        ({"offset": 10**30}, "--offset must not be negative or huge"),
        ({"sort": "secret"}, "no column 'secret' to sort by"),
        ({"sort": "id; DROP TABLE library_books"}, "no column"),
        ({"secret": "hidden"}, "unknown option --secret"),
    ],
)
def test_warning_17_a_list_that_makes_no_sense_is_refused(run, options, says) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", **options)
        assert (code, says in message) == ("invalid-args", True), message

    run(scenario)


def test_warning_15_an_id_with_hyphens_may_stand_alone(run, nanoclaw_instance: Instance) -> None:
    async def scenario(client: Client) -> None:
        add(nanoclaw_instance, ("b-1-2", "Emma", 1, 0, "hard", None))
        assert (await client.data("books", "get", "b-1-2"))["title"] == "Emma"
        assert (await client.data("books", "get", id="b-1-2"))["title"] == "Emma"

    run(scenario)


def test_warning_17_what_is_referred_to_is_deleted_only_with_what_refers_to_it(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma")
        await client.data("loans", "create", reader="ann", book="b1")
        code, message = await client.refusal("books", "delete", "b1")
        assert code == "forbidden"
        assert "1 in library_loans; give --cascade" in message
        assert (await client.data("books", "delete", "b1", cascade=True))["deleted"]["id"] == "b1"
        assert await client.data("loans", "list") == []

    run(scenario)


def test_a_key_of_two_columns_is_typed_in_their_order(run) -> None:
    async def scenario(client: Client) -> None:
        await client.data("books", "create", title="Emma")
        await client.data("loans", "create", reader="ann", book="b1")
        assert await client.data("loans", "get", "ann", "b1") == {"reader": "ann", "book": "b1"}
        assert await client.data("loans", "delete", "ann", "b1") == {"deleted": {"reader": "ann", "book": "b1"}}

    run(scenario)


def test_what_names_something_that_does_not_exist_is_refused(run) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("loans", "create", reader="ann", book="b7")
        assert (code, message) == ("invalid-args", "loans: --book 'b7' names none of the library_books")

    run(scenario)


def test_a_noun_has_only_the_verbs_it_declares(run) -> None:
    async def scenario(client: Client) -> None:
        code, _ = await client.refusal("loans", "update", "ann", "b1")
        assert code == "unknown-command"

    run(scenario)


def test_a_list_shows_the_columns_that_are_asked_for(run, nanoclaw_instance) -> None:
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
def test_a_column_that_there_is_not_is_refused_and_named(run, columns: str) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", columns=columns)
        assert (code, "there are: id, title" in message) == ("invalid-args", True)

    run(scenario)


def test_what_a_row_names_that_is_not_there_is_named_before_anything_is_written(run) -> None:
    async def scenario(client: Client) -> None:
        _, message = await client.refusal("loans", "create", reader="ann", book="b9")
        assert message == "loans: --book 'b9' names none of the library_books"

    run(scenario)


def test_a_filter_that_no_row_can_have_is_refused_with_the_choices(run) -> None:
    async def scenario(client: Client) -> None:
        code, message = await client.refusal("books", "list", binding="leather")
        assert (code, message) == ("invalid-args", "books: --binding must be one of hard, soft, not 'leather'")

    run(scenario)


def test_help_says_what_stands_where_nothing_is_given(run) -> None:
    async def scenario(client: Client) -> None:
        (create,) = [one for one in await client.data("help", "books") if one["command"] == "books create"]
        told = {one["name"]: one["help"] for one in create["parameters"]}
        assert told["binding"] == "one of hard, soft; hard where nothing is said"
        assert (told["pages"], told["is_lent"]) == ("1 where nothing is said", "false where nothing is said")

    run(scenario)
