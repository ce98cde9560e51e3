"""Damages the files of a session."""

import asyncio
import os
from pathlib import Path

import apsw

from nanoclaw_core.store import sessions
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance

TOLD = "The files of this conversation were damaged."
IN, OUT = "in/inbound.db", "out/outbound.db"


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def drop_table(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("DROP TABLE messages_in" if path.name == "inbound.db" else "DROP TABLE messages_out")
    db.close()


DAMAGES = [fill_with_garbage, empty, remove, cut_in_half, overwrite_page, drop_table]


def session_of(instance: Instance, room: str = "room") -> Session:
    session = sessions.find(instance.db, instance.group().id, f"room:{instance.room(room).id}")
    assert session is not None
    return session


def file_of(instance: Instance, name: str) -> Path:
    return instance.paths.home / "sessions" / session_of(instance).id / name


def have_conversation(instance: Instance) -> None:
    """Let a host answer one message, and stop it."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)

    asyncio.run(scenario())
