"""Where on its way each message is at a moment, so that a series of kills can say what it met."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from enum import Enum

import apsw
from nanoclaw_wire import session_files
from platform_outside import Platform

from nanoclaw_core.testing.instance import Instance


class Stage(Enum):
    """What a message waits for; `IN_A_COMMIT` is its runner's file, cut off while it was written."""

    OFFERED = "offered, not accepted"
    ACCEPTED = "accepted, not claimed"
    CLAIMED = "claimed, not answered"
    IN_A_COMMIT = "in a commit of its runner"
    ANSWERED = "answered, not taken over"
    QUEUED = "taken over, not sent"
    SENDING = "being sent"


def stages_met(instance: Instance, platform: Platform) -> Counter[Stage]:
    """Count the stages in which there is a message now, each once."""
    found = set(_in_deliveries(instance))
    if platform.accepted < set(platform.offered):
        found.add(Stage.OFFERED)
    query = "SELECT id, outbound_seq FROM sessions WHERE status = 'active'"
    for session_id, taken_up_to in instance.db.execute(query).fetchall():
        found.update(_in_session(instance, session_id, taken_up_to))
    return Counter(found)


def _in_deliveries(instance: Instance) -> Iterator[Stage]:
    query = "SELECT DISTINCT status FROM deliveries WHERE status IN ('queued', 'sending')"
    for (status,) in instance.db.execute(query).fetchall():
        yield Stage.QUEUED if status == "queued" else Stage.SENDING


def _in_session(instance: Instance, session_id: str, taken_up_to: int) -> Iterator[Stage]:
    directory = instance.places.home / "sessions" / session_id
    try:
        with contextlib.closing(session_files.open_readable(directory / "in/inbound.db")) as db:
            pending = [row[0] for row in db.execute("SELECT id FROM messages_in WHERE status = 'pending'")]
        with contextlib.closing(session_files.open_readable(directory / "out/outbound.db")) as db:
            (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM messages_out").fetchone()
            query = "SELECT status FROM acknowledgements WHERE message_id = ?"
            settled = {one: db.execute(query, (one,)).get for one in pending}
    except apsw.ReadOnlyError:
        yield Stage.IN_A_COMMIT
        return
    except (apsw.Error, OSError):
        return  # made, or set aside, just now
    if last > taken_up_to:
        yield Stage.ANSWERED
    for message_id in pending:
        if settled[message_id] == "processing":
            yield Stage.CLAIMED
        elif settled[message_id] is None:
            yield Stage.ACCEPTED
