"""The resource `notes`: notes that people leave for an agent.

Without this plugin: people cannot leave, list or read out notes. Conversations keep the notes they received.
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

MAX_TEXT_CHARACTERS = 2_000  # the agent reads a note in one prompt
COLUMNS = (
    Column(name="id", generate=partial(new_id, "note")),
    Column(name="agent_group_id", is_required=True, help="the agent that gets the note"),
    Column(name="text", is_required=True, is_updatable=True, help="the text of the note"),
    Column(name="urgency", choices=("low", "high"), default="low", is_updatable=True),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_migrations() -> Iterable[Migration]:
    """Contribute the tables."""
    yield Migration(name="tables", apply=rows.create_tables)


@hookimpl
def nanoclaw_resources() -> Iterable[Resource]:
    """Contribute the resource. The registry generates list, get, create, update and delete for it."""
    yield Resource(
        name="notes",
        table="notes_notes",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        scope_column="agent_group_id",
        check=_check_row,
        owns=("notes_readings",),
        display=("id", "urgency", "text"),
        help="notes that people leave for an agent",
    )


@hookimpl
def nanoclaw_verbs() -> Iterable[Verb]:
    """Contribute the verbs that the registry cannot generate."""
    yield Verb(
        resource="notes",
        name="count",
        access=Access.ALLOWED,
        run=_count,
        parameters=(Parameter(name="agent_group_id", is_required=True, help="the agent"),),
        scope_parameter="agent_group_id",
        help="count the notes of an agent",
    )
    yield Verb(
        resource="notes",
        name="read-out",
        access=Access.NEEDS_APPROVAL,
        run=_read_out,
        check=_check_note,
        preview=_preview_note,
        parameters=(Parameter(name="id", is_required=True, is_positional=True, help="the note, note-…"),),
        filters_by_scope=True,
        help="send a note to the running conversations of its agent",
    )


def _check_row(row: Mapping[str, Any]) -> None:
    if not row["text"].strip() or len(row["text"]) > MAX_TEXT_CHARACTERS:
        raise InvalidArguments(f"notes: --text must be 1 to {MAX_TEXT_CHARACTERS} characters. Write several notes")


async def _count(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, int]:
    return {"count": rows.count(context.database, arguments["agent_group_id"])}


def _note(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> rows.Note:
    """Return the requested note. A note outside the caller's scope raises the same error as a missing one."""
    note = rows.find(context.database, arguments["id"], group_id=caller.scope_group_id)
    if note is None:
        raise NotFound(f"notes: none has the id {arguments['id']!r}. `ncl notes list` shows them")
    return note


def _check_note(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    _note(arguments, caller, context)


def _preview_note(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
    """Return what a human sees of an agent's request before the answer."""
    return {"sends": _note(arguments, caller, context).text}


async def _read_out(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
    note = _note(arguments, caller, context)
    session_ids = context.operations.running(note.agent_group_id)
    for session_id in session_ids:
        await context.operations.note_to_agent(session_id, f"A note for you: {note.text}")
        rows.add_reading(context.database, note.id, session_id, clock.now_text())
    return {"read_out_to": session_ids}
