"""Writes to a session's inbox: the due time that is set before them (I4), and writes that share a commit."""

import asyncio
from collections.abc import Iterator

import pytest
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import BEGINNING_OF_TIME, Destination, Kind, NewInbound, Routing

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.due import DueIndex
from nanoclaw_core.mailbox.inbox import Addresses, InboxWriter
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.outbox import OutboxReader
from nanoclaw_core.store import sessions
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.instance import Instance

SESSION = SessionId("ses-1")
LATER = "2999-01-01T00:00:00.000Z"


@pytest.fixture
def mailbox(instance: Instance) -> Iterator[Mailbox]:
    """Return the mailbox of an instance with one new session."""
    directories = open_root(instance.paths.home)
    inbox, outbox = InboxWriter(directories, lock_timeout_s=1), OutboxReader(directories, file_bytes=1_000)
    made = Mailbox(db=instance.db, directories=directories, inbox=inbox, outbox=outbox, due=DueIndex(instance.db))
    sessions.add(instance.db, Session(id=SESSION, agent_group_id=instance.group().id, conversation="room:r"))
    made.directories.create(SESSION)
    yield made
    made.close()


def message(message_id: str) -> NewInbound:
    return NewInbound(id=message_id, kind=Kind.CHAT, at=clock.now_text(), content="{}")


def due_at(mailbox: Mailbox) -> str | None:
    session = sessions.get(mailbox.db, SESSION)
    assert session is not None
    return session.due_at


@pytest.mark.invariant(number=4)
def test_update_during_a_write_keeps_the_due_mark(mailbox: Mailbox) -> None:
    """A sweep runs between the mark and the commit: inbound.db has no message yet.

    The mark must stay.
    """

    async def scenario() -> str | None:
        mailbox.due.mark(SESSION)
        stored = mailbox.inbox.append(SESSION, [message("in-1")])
        mailbox.update_due(SESSION)
        due_before_commit = due_at(mailbox)
        await stored
        return due_before_commit

    assert asyncio.run(scenario()) == BEGINNING_OF_TIME


def test_update_without_messages_removes_the_due_mark(mailbox: Mailbox) -> None:
    mailbox.due.mark(SESSION)
    assert mailbox.update_due(SESSION) is None
    assert due_at(mailbox) is None


@pytest.mark.invariant(number=4)
def test_mark_of_a_postponed_session_makes_it_due(mailbox: Mailbox) -> None:
    """A message of the session waits for its next try when another one arrives."""
    mailbox.due.update(SESSION, LATER)
    mailbox.due.mark(SESSION)
    assert due_at(mailbox) == BEGINNING_OF_TIME


def test_appends_of_one_commit_get_their_own_numbers(mailbox: Mailbox) -> None:
    async def scenario() -> list[list[int]]:
        first = mailbox.inbox.append(SESSION, [message("in-1"), message("in-2")])
        return [await first, await mailbox.inbox.append(SESSION, [message("in-3")])]

    async def joined() -> list[list[int]]:
        appends = [["in-4"], ["in-5", "in-4", "in-6"], []]
        futures = [mailbox.inbox.append(SESSION, [message(name) for name in names]) for names in appends]
        return await asyncio.gather(*futures)

    assert asyncio.run(scenario()) == [[2, 4], [6]]
    assert asyncio.run(joined()) == [[8], [10, 8, 12], []]


@pytest.mark.invariant(number=15)
def test_appends_of_one_commit_join_their_destinations(mailbox: Mailbox) -> None:
    """Each message must find its room among the destinations.

    The last one is the session's address.
    """

    async def scenario() -> None:
        appends = [
            mailbox.inbox.append(SESSION, [message(f"in-{room}")], Addresses(Routing(channel="c", room=room), rooms))
            for room, rooms in (("a", named("a", "b")), ("b", named("a", "b")), ("c", named("c")))
        ]
        await asyncio.gather(*appends)

    def named(*rooms: str) -> tuple[Destination, ...]:
        return tuple(Destination(name=f"room-{room}", kind="channel", channel="c", room=room) for room in rooms)

    asyncio.run(scenario())
    db = mailbox.inbox.read(SESSION)
    assert [destination.room for destination in inbound.destinations(db)] == ["a", "b", "c"]
    assert (inbound.routing(db).room, mailbox.inbox.routing(SESSION).room) == ("c", "c")
    mailbox.release(SESSION)
    assert mailbox.inbox.routing(SESSION).room == "c"  # from the file
