"""Parses the content of inbound rows (⚠41, ⚠58). Nothing here raises, and every text can be encoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import asdict, field, frozen
from nanoclaw_wire import commands
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, Kind
from nanoclaw_wire.labels import exact, file_label, label


class SlashCommand(Enum):
    """A slash command. RAW is one of `nanoclaw_wire.commands.RAW`: only some providers have such commands."""

    CLEAR = "clear"
    STOP = "stop"
    RAW = "raw"


@frozen(kw_only=True)
class Quote:
    """The message that a message replies to. A text is empty if the platform did not send it."""

    id: str = ""
    sender: str = ""
    text: str = ""


@frozen(kw_only=True)
class File:
    """A file that came with a message. `path` is below `in/`; empty if the host did not save the file.

    `problem` is the reason for a missing file; empty if there is none.
    """

    kind: str = "file"
    name: str = "attachment"
    path: str = ""
    url: str = ""
    problem: str = ""


@frozen(kw_only=True)
class Chat:
    """The content of a chat message.

    Args:
        text: As written, with its white space.
        sender: A display name as a label, else the user id, else `Unknown`. People choose their names themselves.
        user: The user id that the platform vouches for; empty if it names none.
    """

    text: str
    sender: str
    user: str
    quote: Quote
    files: tuple[File, ...]


@frozen(kw_only=True)
class InboxRow(InboundMessage):
    """An inbound row with its content parsed.

    Args:
        values: The JSON object in `content`.
        chat: The content of a row of the kind CHAT; None for other kinds.
        command: The slash command that the row gives; None if it gives none.
    """

    values: Mapping[str, Any] = field(eq=False, repr=False)
    chat: Chat | None
    command: SlashCommand | None


def parse(row: InboundMessage) -> InboxRow | None:
    """Parse the content of a row; return None if it is not a JSON object."""
    try:
        values = json.loads(row.content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    chat = _chat(values) if row.kind is Kind.CHAT else None
    command = _command(row, chat.text) if chat is not None else None
    return InboxRow(**asdict(row, recurse=False), values=values, chat=chat, command=command)


def as_text(value: object) -> str:
    """Return a clean string: None as an empty one, and anything else that is not a string as JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(text)


def clean(text: str) -> str:
    """Replace lone surrogates, which no encoder accepts, and remove NUL characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _command(row: InboundMessage, text: str) -> SlashCommand | None:
    """Return the command of a chat row.

    Only a person who talks to the assistant can give a command. A context row gives none, and neither does another
    agent, because no gate on the host has checked its words (⚠46).
    """
    if not row.trigger or row.channel in (None, AGENT_CHANNEL):
        return None
    match commands.command_of(text):
        case "/clear":
            return SlashCommand.CLEAR
        case "/stop":
            return SlashCommand.STOP
        case command if command in commands.RAW:
            return SlashCommand.RAW
    return None


def _chat(values: Mapping[str, Any]) -> Chat:
    return Chat(
        text=as_text(values.get("text")),
        sender=_sender(values),
        user=exact(as_text(values.get("sender_id"))),
        quote=_quote(values),
        files=_files(values),
    )


def _sender(values: Mapping[str, Any]) -> str:
    author = values.get("author")
    author = author if isinstance(author, dict) else {}
    candidates = (values.get("sender"), author.get("full_name"), author.get("user_name"), values.get("sender_id"))
    return next((name for candidate in candidates if (name := label(as_text(candidate)))), "Unknown")


def _quote(values: Mapping[str, Any]) -> Quote:
    quote = values.get("reply_to")
    if not isinstance(quote, dict):
        return Quote()
    return Quote(
        id=exact(as_text(quote.get("id"))), sender=label(as_text(quote.get("sender"))), text=as_text(quote.get("text"))
    )


def _files(values: Mapping[str, Any]) -> tuple[File, ...]:
    """Return the attachments; skip entries that are not objects."""
    attachments = values.get("attachments")
    return tuple(
        File(
            kind=label(as_text(entry.get("type"))) or "file",
            name=file_label(as_text(entry.get("name"))) or "attachment",
            path=exact(as_text(entry.get("path"))),
            url=exact(as_text(entry.get("url"))),
            problem=label(as_text(entry.get("problem"))),
        )
        for entry in (attachments if isinstance(attachments, list) else ())
        if isinstance(entry, dict)
    )
