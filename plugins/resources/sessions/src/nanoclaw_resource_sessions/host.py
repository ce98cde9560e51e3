"""The resource `sessions`: conversations.

Without this plugin: conversations keep working, but `ncl` cannot list, read, close or delete them.
"""

from __future__ import annotations

import asyncio
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
    Column(name="messaging_group_id", help="the chat; empty if the session has no chat of its own"),
    Column(name="thread", help="the thread, if each thread is its own session"),
    Column(name="provider", help="overrides the provider of the agent group"),
    Column(name="status", choices=("active", "closed")),
    Column(name="due_at", help="when it next needs a sandbox; 0001-01-01 means at once, empty means never"),
    Column(name="created_at"),
)
ID = Parameter(name="id", is_required=True, is_positional=True, help="the session, ses-…")
DEFAULT_MESSAGES, MAX_MESSAGES = 50, 1_000
REMOVAL_WAIT_S = 1.0  # the answer then says that the files are being removed


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="sessions", table="sessions", columns=COLUMNS, scope_column="agent_group_id", help="conversations"
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute the verbs that the registry cannot generate."""
    yield Verb(
        resource="sessions",
        name="close",
        access=Access.NEEDS_APPROVAL,
        run=_close,
        check=_find,
        preview=_preview_close,
        parameters=(
            ID,
            Parameter(name="force", kind=bool, help="close even if a message waits; it then gets no answer"),
        ),
        filters_by_scope=True,
        help="close a conversation and stop its sandbox; the next message starts a new one",
    )
    yield Verb(
        resource="sessions",
        name="delete",
        access=Access.NEEDS_APPROVAL,
        run=_delete,
        check=_check_closed,
        preview=_preview_delete,
        parameters=(ID,),
        filters_by_scope=True,
        help="delete a closed conversation and its files permanently",
    )
    yield Verb(
        resource="sessions",
        name="messages",
        access=Access.OPERATOR_ONLY,  # people in one chat did not agree that another chat reads them
        run=_messages,
        check=_check_messages,
        parameters=(
            ID,
            Parameter(
                name="limit",
                kind=int,
                help="the number of latest messages to show",
                default=str(DEFAULT_MESSAGES),
            ),
        ),
        help="show the messages of a conversation, oldest first",
    )


def _find(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    if not rows.exists(context.database, arguments["id"], caller.scope_group_id):
        raise NotFound(f"sessions: none has the id {arguments['id']!r}. `ncl sessions list` shows them")


def _check_messages(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    limit = arguments.get("limit")
    if limit is not None and not 1 <= limit <= MAX_MESSAGES:
        raise InvalidArguments(f"--limit must be between 1 and {MAX_MESSAGES}, got {limit}")
    _find(arguments, caller, context)


def _preview_close(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    session = rows.described(context.database, arguments["id"])
    return {"session": {"before": session, "after": session | {"status": "closed"}}}


def _preview_delete(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    return {"session": {"before": rows.described(context.database, arguments["id"]), "after": None}}


async def _close(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    await context.operations.close_session(SessionId(arguments["id"]), force=bool(arguments.get("force")))
    return {"closed": arguments["id"]}


def _check_closed(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
    _find(arguments, caller, context)
    if not rows.is_closed(context.database, arguments["id"]):
        remedy = f"Run `ncl sessions close {arguments['id']}` first"
        raise Forbidden(f"sessions: {arguments['id']} is still active. {remedy}")
    if rows.is_sending(context.database, arguments["id"]):
        remedy = "`ncl deliveries list` shows them"
        raise Forbidden(f"sessions: {arguments['id']} still has messages to send. {remedy}")


async def _delete(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    # Move the files first: a closed session without files can be deleted again, but files without a row stay for ever.
    removal = await context.operations.discard_session_files(SessionId(arguments["id"]))
    rows.delete(context.database, arguments["id"])
    await asyncio.wait([removal], timeout=REMOVAL_WAIT_S)
    is_removed = removal.done() and removal.result()
    return {"deleted": arguments["id"], "files": "removed" if is_removed else "being removed"}


async def _messages(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> Any:
    from nanoclaw_resource_sessions.conversation import messages  # keeps the start of the host fast

    limit = arguments.get("limit") or DEFAULT_MESSAGES
    return messages(context.database, context.home, SessionId(arguments["id"]), limit)
