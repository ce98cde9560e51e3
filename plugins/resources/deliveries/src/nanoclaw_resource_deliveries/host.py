"""The resource `deliveries`: outgoing messages.

Without this plugin: messages are still delivered, but `ncl` cannot list, retry or discard them.
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
    Column(name="id", help="the id; the platform gets it as the key that marks a repeated message"),
    Column(name="status", choices=("queued", "sending", "sent", "failed")),
    Column(name="session_id", help="the session; empty for a message of the host"),
    Column(name="channel"),
    Column(name="room", help="the platform's id of the chat"),
    Column(name="thread"),
    Column(name="kind", choices=("chat", "card")),
    Column(name="content", help="the content as the agent wrote it"),
    Column(name="attempts", kind=int),
    Column(name="next_try_at"),
    Column(name="platform_message_id"),
    Column(name="last_error"),
    Column(name="correlation_id", help="the id in every log line about the message"),
    Column(name="created_at"),
    Column(name="updated_at"),
)
ALL = Parameter(name="all", kind=bool, help="all messages that were tried and failed, oldest first, at most 1 000")
ID = Parameter(name="id", is_required=True, is_positional=True, help="the delivery, dlv-…")
OPTIONAL_ID = Parameter(name="id", is_positional=True, help="the delivery, dlv-…")
MAX_RETRIED = 1_000  # per request, because the host does nothing else meanwhile


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="deliveries",
        table="deliveries",
        columns=COLUMNS,
        display=("id", "status", "session_id", "channel", "room", "attempts", "last_error", "updated_at"),
        help="outgoing messages",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute the verbs that the registry cannot generate."""
    yield Verb(
        resource="deliveries",
        name="retry",
        access=Access.NEEDS_APPROVAL,
        run=_retry,
        check=_check_failed,
        preview=_preview_retry,
        parameters=(OPTIONAL_ID, ALL),
        help="retry a failed message under its old key, or with --all every failed message that was tried",
    )
    yield Verb(
        resource="deliveries",
        name="discard",
        access=Access.NEEDS_APPROVAL,
        run=_discard,
        check=_check_waiting,
        preview=lambda arguments, _caller, context: _preview(arguments, context, "failed"),
        parameters=(ID,),
        help="discard a queued message",
    )


def _check_failed(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
    if (arguments.get("id") is None) is (arguments.get("all") is not True):
        raise InvalidArguments(
            "deliveries retry: needs either --id or --all. `ncl deliveries list --status failed` shows them"
        )
    if arguments.get("id") is None:
        return
    _require_status(arguments, context, "failed", "Only a failed message can be retried")


def _check_waiting(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
    _require_status(arguments, context, "queued", "Only a queued message can be discarded")


def _require_status(arguments: Mapping[str, Any], context: PluginContext, expected: str, reason: str) -> None:
    status = rows.status_of(context.database, arguments["id"])
    if status is None:
        raise NotFound(f"deliveries: none has the id {arguments['id']!r}. `ncl deliveries list` shows them")
    if status != expected:
        raise InvalidArguments(f"deliveries: {arguments['id']} is {status}. {reason}")


def _preview_retry(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    if arguments.get("id") is None:
        return {"messages to retry": min(rows.count_tried_and_failed(context.database), MAX_RETRIED)}
    return _preview(arguments, context, "queued")


def _preview(arguments: Mapping[str, Any], context: PluginContext, status: str) -> dict[str, Any]:
    delivery = rows.described(context.database, arguments["id"])
    return {"delivery": {"before": delivery, "after": delivery | {"status": status}}}


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
