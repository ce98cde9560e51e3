"""Notes that people leave for an agent, as a noun: `ncl notes`.

Without this plugin: nobody can leave, list or read out notes; what was read out stays in the conversations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from nanoclaw_wire import clock

from nanoclaw_core import (
    READ,
    WRITE,
    Access,
    Caller,
    Column,
    InvalidArguments,
    Migration,
    NotFound,
    Parameter,
    PluginContext,
    Resource,
    Verb,
    hookimpl,
    new_id,
)
from nanoclaw_resource_notes import rows

TEXT_AT_MOST = 2_000  # characters; it is read in one go
COLUMNS = (
    Column(name="id", generate=partial(new_id, "note")),
    Column(name="agent_group_id", is_required=True, help="the agent that it is for"),
    Column(name="text", is_required=True, is_updatable=True, help="what it says"),
    Column(name="urgency", choices=("low", "high"), default="low", is_updatable=True),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Make the tables."""
    yield Migration(name="tables", apply=rows.create_tables)


@hookimpl
def nanoclaw_resources() -> Iterable[Resource]:
    """Contribute the noun, of which the registry makes list, get, create, update and delete."""
    yield Resource(
        name="notes",
        table="notes_notes",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        scope_column="agent_group_id",
        check=_check_row,
        owns=("notes_readings",),
        display=("id", "urgency", "text"),
        help="what people leave for an agent to read",
    )


@hookimpl
def nanoclaw_verbs() -> Iterable[Verb]:
    """Contribute what is more than a row."""
    yield Verb(
        resource="notes",
        name="count",
        access=Access.ALLOWED,
        run=_count,
        parameters=(Parameter(name="agent_group_id", is_required=True, help="the agent"),),
        scope_parameter="agent_group_id",
        help="how many notes an agent has",
    )
    yield Verb(
        resource="notes",
        name="read-out",
        access=Access.NEEDS_APPROVAL,
        run=_read_out,
        check=_check_note,
        parameters=(Parameter(name="id", is_required=True, is_positional=True, help="the note, note-…"),),
        filters_by_scope=True,
        help="give a note to the agent's conversations whose sandboxes run",
    )


def _check_row(row: Mapping[str, Any]) -> None:
    if not row["text"].strip() or len(row["text"]) > TEXT_AT_MOST:
        raise InvalidArguments(f"notes: --text must be 1 to {TEXT_AT_MOST} characters; write less, or several notes")


async def _count(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, int]:
    return {"count": rows.count(context.database, arguments["agent_group_id"])}


def _note(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> rows.Note:
    """Return the note that is meant; one beyond the caller's limit is answered as one that is not there."""
    note = rows.find(context.database, arguments["id"], within=caller.scope_group_id)
    if note is None:
        raise NotFound(f"notes: there is none with id {arguments['id']!r}")
    return note


def _check_note(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    _note(arguments, caller, context)


async def _read_out(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
    note = _note(arguments, caller, context)
    readers = context.operations.running(note.agent_group_id)
    for session_id in readers:
        await context.operations.note_to_agent(session_id, f"A note for you: {note.text}")
        rows.add_reading(context.database, note.id, session_id, clock.now_text())
    return {"read_out_to": readers}
