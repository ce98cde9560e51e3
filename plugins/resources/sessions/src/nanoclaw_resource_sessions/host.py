"""Conversations, as a noun: `ncl sessions`.

Without this plugin: conversations go on as ever; nobody can list them, look into one or end one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_core import (
    Access,
    Caller,
    Column,
    Forbidden,
    InvalidArguments,
    NotFound,
    Parameter,
    PluginContext,
    Resource,
    SessionId,
    Verb,
    hookimpl,
)
from nanoclaw_resource_sessions import rows

COLUMNS = (
    Column(name="id"),
    Column(name="agent_group_id", help="the agent"),
    Column(name="messaging_group_id", help="the chat; empty where the conversation has none of its own"),
    Column(name="thread", help="set where one thread is one conversation"),
    Column(name="provider", help="overrides the agent group's"),
    Column(name="status", choices=("active", "closed")),
    Column(name="due_at", help="when it next needs a sandbox, 0001-01-01 is at once; empty where nothing waits"),
    Column(name="created_at"),
)
ID = Parameter(name="id", is_required=True, is_positional=True, help="the session, ses-…")
SHOWN, SHOWN_AT_MOST = 50, 1_000


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="sessions", table="sessions", columns=COLUMNS, scope_column="agent_group_id", help="conversations"
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Offer what is more than a row."""
    yield Verb(
        resource="sessions",
        name="close",
        access=Access.HOLD,
        run=_close,
        check=_find,
        parameters=(ID, Parameter(name="force", kind=bool, help="also where a message waits; it gets no answer then")),
        limits_itself=True,
        help="end a conversation and its sandbox; the next message starts a new one",
    )
    yield Verb(
        resource="sessions",
        name="delete",
        access=Access.HOLD,
        run=_delete,
        check=_check_closed,
        parameters=(ID,),
        limits_itself=True,
        help="remove a closed conversation with its files, for good",
    )
    yield Verb(
        resource="sessions",
        name="messages",
        access=Access.DENY,  # people in one chat have not agreed to be read from another
        run=_messages,
        check=_check_messages,
        parameters=(
            ID,
            Parameter(name="limit", kind=int, help=f"so many of the latest, {SHOWN} where nothing is said"),
        ),
        help="what was said in a conversation, oldest first",
    )


def _find(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    if not rows.is_there(context.database, arguments["id"], caller.limited_to):
        raise NotFound(f"sessions: there is none with id {arguments['id']!r}")


def _check_messages(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    limit = arguments.get("limit")
    if limit is not None and not 1 <= limit <= SHOWN_AT_MOST:
        raise InvalidArguments(f"--limit must be between 1 and {SHOWN_AT_MOST}, not {limit}")
    _find(arguments, caller, context)


async def _close(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    await context.operations.close_session(SessionId(arguments["id"]), force=bool(arguments.get("force")))
    return {"closed": arguments["id"]}


def _check_closed(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    _find(arguments, caller, context)
    if not rows.is_closed(context.database, arguments["id"]):
        raise Forbidden(f"sessions: {arguments['id']} is active; `ncl sessions close {arguments['id']}` comes first")
    if rows.is_sending(context.database, arguments["id"]):
        raise Forbidden(f"sessions: {arguments['id']} has messages that wait to be sent; `ncl deliveries` shows them")


async def _delete(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    """The row first: files without a row are nobody's, a row without files would be a conversation that is broken."""
    rows.delete(context.database, arguments["id"])
    shutil.rmtree(context.home / "sessions" / arguments["id"], ignore_errors=True)  # follows no link
    return {"deleted": arguments["id"]}


async def _messages(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> Any:
    from nanoclaw_resource_sessions.conversation import messages  # no start of a host pays for it

    limit = arguments.get("limit") or SHOWN
    return messages(context.database, context.home, SessionId(arguments["id"]), limit)
