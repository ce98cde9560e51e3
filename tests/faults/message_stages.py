"""Where on its way each message is at a moment, so that a series of kills can say which moments it met."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from enum import Enum

import apsw
from external_platform import Mode
from nanoclaw_wire import session_files
from platform_client import PlatformClient

from nanoclaw_core.testing.instance import Instance


class Stage(Enum):
    """What a message waits for. `IN_A_COMMIT`: its runner's file, cut off while it was written."""

    OFFERED = "offered, not accepted"
    ACCEPTED = "accepted, not claimed"
    CLAIMED = "claimed, not answered"
    IN_A_TOOL = "claimed while a tool runs"
    IN_A_COMMIT = "in a commit of its runner"
    ANSWERED = "answered, not imported"
    QUEUED = "imported, not sent"
    SENDING = "being sent"
    IN_AN_OUTAGE = "on its way while the platform does not work"


def stages_met(instance: Instance, platform: PlatformClient) -> Counter[Stage]:
    """Count the stages in which there is a message now, each once."""
    found = set(_on_their_way(instance))
    if len(platform.accepted) < len(platform.written):
        found.add(Stage.OFFERED)
    if found and platform.mode is not Mode.WORKS:
        found.add(Stage.IN_AN_OUTAGE)
    return Counter(found)


def is_idle(instance: Instance) -> bool:
    """Return True if no accepted message and no answer is on its way."""
    return not any(_on_their_way(instance))


def _on_their_way(instance: Instance) -> Iterator[Stage]:
    query = "SELECT DISTINCT status FROM deliveries WHERE status IN ('queued', 'sending')"
    for (status,) in instance.db.execute(query).fetchall():
        yield Stage.QUEUED if status == "queued" else Stage.SENDING
    query = "SELECT id, outbound_seq FROM sessions WHERE status = 'active'"
    for session_id, imported_up_to in instance.db.execute(query).fetchall():
        yield from _in_session(instance, session_id, imported_up_to)


def _in_session(instance: Instance, session_id: str, imported_up_to: int) -> Iterator[Stage]:
    directory = instance.places.home / "sessions" / session_id
    try:
        with contextlib.closing(session_files.open_readable(directory / "in/inbound.db")) as db:
            # A note of the host wakes nobody, so it waits for the next message.
            query = "SELECT id FROM messages_in WHERE status = 'pending' AND trigger = 1"
            pending = [row[0] for row in db.execute(query)]
        with contextlib.closing(session_files.open_readable(directory / "out/outbound.db")) as db:
            (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM messages_out").fetchone()
            tool = db.execute("SELECT tool FROM runner_state").get
            query = "SELECT status FROM acknowledgements WHERE message_id = ?"
            settled = {message_id: db.execute(query, (message_id,)).get for message_id in pending}
    except apsw.ReadOnlyError:
        yield Stage.IN_A_COMMIT
        return
    except (apsw.Error, OSError):
        return  # the session is being made
    if last > imported_up_to:
        yield Stage.ANSWERED
    for message_id in pending:
        if settled[message_id] == "processing":
            yield Stage.IN_A_TOOL if tool else Stage.CLAIMED
        elif settled[message_id] is None:
            yield Stage.ACCEPTED
