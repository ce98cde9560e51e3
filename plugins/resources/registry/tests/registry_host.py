"""A running host with a test resource, and a client of its control socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import apsw
import nanoclaw_resource_registry.host as registry

from nanoclaw_core import READ, WRITE, Access, Column, InvalidArguments, Migration, Resource, hookimpl
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance

BOOKS = Resource(
    name="books",
    table="library_books",
    columns=(
        Column(name="id", generate=lambda: "b1"),
        Column(name="title", is_required=True, is_updatable=True, help="the title on the cover"),
        Column(name="pages", kind=int, default=1, is_updatable=True),
        Column(name="is_lent", kind=bool, default=False, is_updatable=True),
        Column(name="binding", choices=("hard", "soft"), default="hard", is_updatable=True),
        Column(name="note", is_updatable=True),
        Column(name="order", kind=int, is_updatable=True, help="a column named like an SQL keyword"),
        Column(name="tags", kind=list),
    ),
    operations={**READ, **WRITE},
    check=lambda row: _check(row),
    cascades=True,
    display=("id", "title", "note"),
    help="books of a library",
)
LOANS = Resource(
    name="loans",
    table="library_loans",
    columns=(Column(name="reader"), Column(name="book", is_required=True)),
    key=("reader", "book"),
    operations={**READ, "create": Access.NEEDS_APPROVAL, "delete": Access.NEEDS_APPROVAL},
)


class Library:
    """A plugin with two resources."""

    @hookimpl
    def nanoclaw_resources(self) -> Iterable[Resource]:
        return (BOOKS, LOANS)

    @hookimpl
    def nanoclaw_migrations(self) -> Iterable[Migration]:
        yield Migration(name="tables", apply=_make_tables)


class Client:
    """A client of the control socket. Keeps the progress lines of the last request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.progress: list[str] = []

    async def ask(self, *words: str, **options: Any) -> dict[str, Any]:
        self._writer.write(json.dumps({"id": "1", "words": words, "options": options}).encode() + b"\n")
        self.progress = []
        while "progress" in (frame := json.loads(await self._reader.readline())):
            self.progress.append(frame["progress"])
        answer: dict[str, Any] = frame
        return answer

    async def data(self, *words: str, **options: Any) -> Any:
        answer = await self.ask(*words, **options)
        assert answer["ok"], answer
        return answer["data"]

    async def refusal(self, *words: str, **options: Any) -> tuple[str, str]:
        answer = await self.ask(*words, **options)
        assert not answer["ok"], answer
        return answer["error"]["code"], answer["error"]["message"]


@asynccontextmanager
async def client(instance: Instance) -> AsyncIterator[Client]:
    """Connect to the host of an instance."""
    reader, writer = await asyncio.open_unix_connection(str(instance.paths.control_socket))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def library(instance: Instance) -> AsyncIterator[Client]:
    """Run a host with the registry and the library, and connect to it."""
    async with running_host(instance, registry=registry, library=Library()), client(instance) as connected:
        yield connected


def _check(row: Any) -> None:
    if row.get("binding") == "soft" and (row.get("pages") or 0) > 1_000:
        raise InvalidArguments(f"books: {row['pages']} pages do not fit in a soft binding")


def _make_tables(db: apsw.Connection) -> None:
    db.execute(
        "CREATE TABLE library_books (id TEXT PRIMARY KEY, title TEXT NOT NULL UNIQUE, pages INTEGER NOT NULL,"
        ' is_lent INTEGER NOT NULL, binding TEXT NOT NULL, note TEXT, "order" INTEGER, tags TEXT,'
        " secret TEXT DEFAULT 'hidden') STRICT"
    )
    db.execute(
        "CREATE TABLE library_loans (reader TEXT NOT NULL, book TEXT NOT NULL REFERENCES library_books (id)"
        " ON DELETE CASCADE, PRIMARY KEY (reader, book)) STRICT"
    )
