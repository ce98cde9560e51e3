"""Finds the stage of each message at a moment, so that a series of kills can report the stages that it met."""

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
    """A stage on a message's path.

    `IN_A_COMMIT`: a kill interrupted the runner's commit to its file.
    """

    OFFERED = "offered, not accepted"
    ACCEPTED = "accepted, not claimed"
    CLAIMED = "claimed, not answered"
    IN_A_TOOL = "claimed while a tool runs"
    IN_A_COMMIT = "in a commit of its runner"
    ANSWERED = "answered, not imported"
    QUEUED = "imported, not sent"
    SENDING = "being sent"
    IN_AN_OUTAGE = "on its path while the platform does not work"


def stages_met(instance: Instance, platform: PlatformClient) -> Counter[Stage]:
    """Return the current stages of all messages, each counted once."""
    stages = set(_on_their_path(instance))
    if len(platform.accepted) < len(platform.written):
        stages.add(Stage.OFFERED)
    if stages and platform.mode is not Mode.WORKS:
        stages.add(Stage.IN_AN_OUTAGE)
    return Counter(stages)


def is_idle(instance: Instance) -> bool:
    """Return True if no accepted message and no answer is on its path."""
    return not any(_on_their_path(instance))


def _on_their_path(instance: Instance) -> Iterator[Stage]:
    query = "SELECT DISTINCT status FROM deliveries WHERE status IN ('queued', 'sending')"
    for (status,) in instance.db.execute(query).fetchall():
        yield Stage.QUEUED if status == "queued" else Stage.SENDING
    query = "SELECT id, outbound_seq FROM sessions WHERE status = 'active'"
    for session_id, imported_up_to in instance.db.execute(query).fetchall():
        yield from _in_session(instance, session_id, imported_up_to)


def _in_session(instance: Instance, session_id: str, imported_up_to: int) -> Iterator[Stage]:
    directory = instance.paths.home / "sessions" / session_id
    try:
        with contextlib.closing(session_files.open_readable(directory / "in/inbound.db")) as db:
            # A note of the host starts no sandbox, so it waits for the next message.
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
        return  # the host is creating the session
    if last > imported_up_to:
        yield Stage.ANSWERED
    for message_id in pending:
        if settled[message_id] == "processing":
            yield Stage.IN_A_TOOL if tool else Stage.CLAIMED
        elif settled[message_id] is None:
            yield Stage.ACCEPTED
