"""Messages on their way out, as a noun: `ncl deliveries`.

Without this plugin: messages are delivered as ever; nobody can list what was sent, what waits
and what failed, or try again what failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_core import (
    Access,
    Caller,
    Column,
    DeliveryId,
    InvalidArguments,
    NotFound,
    Parameter,
    PluginContext,
    Resource,
    Verb,
    hookimpl,
)
from nanoclaw_resource_deliveries import rows

COLUMNS = (
    Column(name="id", help="also the key the platform gets, so that it may know a message it had before"),
    Column(name="status", choices=("queued", "sending", "sent", "failed")),
    Column(name="session_id", help="empty where the host itself speaks"),
    Column(name="channel"),
    Column(name="room", help="the platform's own id of the chat"),
    Column(name="thread"),
    Column(name="kind", choices=("chat", "card")),
    Column(name="content", help="what is sent, as the agent wrote it"),
    Column(name="attempts", kind=int),
    Column(name="next_try_at"),
    Column(name="platform_message_id"),
    Column(name="last_error"),
    Column(name="correlation_id", help="the same on every log line of the message"),
    Column(name="created_at"),
    Column(name="updated_at"),
)
ALL = Parameter(name="all", kind=bool, help="every message that was tried and failed, oldest first, up to 1 000")
ID = Parameter(name="id", is_required=True, is_positional=True, help="the delivery, dlv-…")

ANY = Parameter(name="id", is_positional=True, help="the delivery, dlv-…")
MAX_RETRIED = 1_000  # with one request: the host does nothing else meanwhile


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the noun."""
    yield Resource(
        name="deliveries",
        table="deliveries",
        columns=COLUMNS,
        display=("id", "status", "session_id", "channel", "room", "attempts", "last_error", "updated_at"),
        help="messages on their way out",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute what is more than a row."""
    yield Verb(
        resource="deliveries",
        name="retry",
        access=Access.NEEDS_APPROVAL,
        run=_retry,
        check=_check_failed,
        parameters=(ANY, ALL),
        help="send a message that failed for good once more, under its old key; --all: every one that was tried",
    )
    yield Verb(
        resource="deliveries",
        name="discard",
        access=Access.NEEDS_APPROVAL,
        run=_discard,
        check=_check_waiting,
        parameters=(ID,),
        help="give up a message that waits to be sent",
    )


def _check_failed(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
    if (arguments.get("id") is None) is (arguments.get("all") is not True):
        raise InvalidArguments("deliveries retry: needs either an id or --all. `ncl deliveries list --status failed`")
    if arguments.get("id") is None:
        return
    _insist(arguments, context, "failed", "only what failed for good can be retried")


def _check_waiting(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
    _insist(arguments, context, "queued", "only what is queued can be discarded")


def _insist(arguments: Mapping[str, Any], context: PluginContext, status: str, why: str) -> None:
    found = rows.status_of(context.database, arguments["id"])
    if found is None:
        raise NotFound(f"deliveries: there is none with id {arguments['id']!r}")
    if found != status:
        raise InvalidArguments(f"deliveries: {arguments['id']} is {found}; {why}")


async def _retry(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    if arguments.get("id") is not None:
        rows.queue_again(context.database, arguments["id"])
        context.operations.refresh_delivery(DeliveryId(arguments["id"]))
        return {"retried": arguments["id"]}
    queued = rows.queue_all_again(context.database, MAX_RETRIED)
    for delivery_id in queued:
        context.operations.refresh_delivery(DeliveryId(delivery_id))
    return {"retried": len(queued), "left": rows.count_tried_and_failed(context.database)}


async def _discard(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    rows.discard(context.database, arguments["id"])
    context.operations.refresh_delivery(DeliveryId(arguments["id"]))
    return {"discarded": arguments["id"]}
