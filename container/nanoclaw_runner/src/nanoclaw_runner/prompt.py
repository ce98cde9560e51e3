"""Writes prompts as the model reads them. Instructions and past conversations rely on their shapes.

Everything that people, agents and platforms wrote is escaped, so only the host and the runner can write an element.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve, frozen
from nanoclaw_wire import clock
from nanoclaw_wire.destination_names import destination_name
from nanoclaw_wire.inbound import Destination, Kind, RoomAddress
from nanoclaw_wire.labels import exact, label

from nanoclaw_runner import content
from nanoclaw_runner.content import Chat, InboxRow
from nanoclaw_runner.pending_prompts import Prompt


@frozen(kw_only=True)
class PromptContext:
    """The facts that a prompt needs besides its rows.

    Args:
        timezone: An IANA name; any other value counts as UTC.
        incoming: The directory where the agent finds incoming files.
        destinations: `write_prompt` sets them to those of its prompt.
    """

    timezone: str
    incoming: Path
    destinations: Sequence[Destination] = ()


def write_prompt(prompt: Prompt, context: PromptContext) -> str:
    """Return the text of a prompt: a header with the time zone, then chats, tasks, webhooks and system answers.

    A raw command is returned as typed, but it opens no element.
    """
    if prompt.is_raw and prompt.rows[0].chat is not None:
        return prompt.rows[0].chat.text.strip().replace("<", "&lt;")
    context = evolve(context, destinations=prompt.destinations)
    header = f'<context timezone="{escape(context.timezone)}" />\n' + "".join(map(_renamed, prompt.destinations))
    if prompt.omitted:
        header += f'<earlier_messages left_out="{len(prompt.omitted)}" />\n'
    return header + "\n\n".join(block for block in _blocks(prompt.rows, context) if block)


def escape(text: str) -> str:
    """Replace the four characters that would end a text or an attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _renamed(destination: Destination) -> str:
    """Return a line for a destination whose room is now called something else; empty for all others."""
    shown = label(destination.display_name or "")
    if not shown or destination_name(shown) == destination.name:
        return ""
    return f"<destination{_attributes(name=destination.name, room_name=shown)} />\n"


def _blocks(rows: Sequence[InboxRow], context: PromptContext) -> list[str]:
    chats = [_chat(row, row.chat, context) for row in rows if row.chat is not None]
    block = "<messages>\n" + "\n".join(chats) + "\n</messages>" if len(chats) > 1 else "".join(chats)
    others: tuple[tuple[Kind, Callable[[InboxRow, PromptContext], str]], ...] = (
        (Kind.TASK, _task),
        (Kind.WEBHOOK, _webhook),
        (Kind.SYSTEM, _system),
    )
    return [block, *(write(row, context) for kind, write in others for row in rows if row.kind is kind)]


def _chat(row: InboxRow, chat: Chat, context: PromptContext) -> str:
    if row.is_host_note:
        return f"<host-note{_attributes(time=_time(row, context))}>{escape(chat.text)}</host-note>"
    quote = chat.quote
    attributes = _attributes(
        id=str(row.seq),
        **{"from": _origin(row, context)},
        sender=chat.sender,
        user=chat.user or None,
        time=_time(row, context),
        reply_to=quote.id or None,
    )
    quoted = ""
    if quote.sender and quote.text:
        quoted = f'\n  <quoted_message from="{escape(quote.sender)}">{escape(quote.text)}</quoted_message>\n'
    files = "".join(f"\n{_file(file, context.incoming)}" for file in chat.files)
    return f"<message{attributes}>{quoted}{escape(chat.text)}{files}</message>"


def _file(file: content.File, incoming: Path) -> str:
    path = str(incoming / file.path) if file.path else None
    problem = file.problem or None
    attributes = _attributes(kind=file.kind, name=file.name, path=path, url=file.url or None, problem=problem)
    return f"<attachment{attributes} />"


def _task(row: InboxRow, context: PromptContext) -> str:
    output = ""
    if row.values.get("script_output") is not None:
        output = f"Script output:\n{escape(_pretty(row.values['script_output']))}\n\n"
    attributes = _attributes(**{"from": _origin(row, context)}, time=_time(row, context))
    instructions = escape(content.as_text(row.values.get("prompt")))
    return f"<task{attributes}>\n{output}Instructions:\n{instructions}\n</task>"


def _webhook(row: InboxRow, context: PromptContext) -> str:
    hook = row.values
    attributes = _attributes(
        **{"from": _origin(row, context)},
        source=label(content.as_text(hook.get("source"))) or "unknown",
        event=label(content.as_text(hook.get("event"))) or "unknown",
    )
    payload = hook["payload"] if hook.get("payload") is not None else hook
    return f"<webhook{attributes}>\n{escape(_pretty(payload))}\n</webhook>"


def _system(row: InboxRow, context: PromptContext) -> str:
    answer = row.values
    attributes = _attributes(
        **{"from": _origin(row, context)},
        action=label(content.as_text(answer.get("action"))) or "unknown",
        status=label(content.as_text(answer.get("status"))) or "unknown",
    )
    return f"<system_response{attributes}>\n{escape(_pretty(answer.get('result')))}\n</system_response>"


def _attributes(**values: str | None) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value is not None)


def _origin(row: InboxRow, context: PromptContext) -> str | None:
    """Return the name of a row's origin: a destination or `unknown:<channel>:<room>`; None without an address."""
    if row.channel is None and row.room is None:
        return None
    address = RoomAddress(row.channel or "", row.room or "")
    known = (destination.name for destination in context.destinations if destination.address == address)
    return next(known, f"unknown:{exact(f'{address.channel}:{address.room}')}")


def _time(row: InboxRow, context: PromptContext) -> str | None:
    try:
        return clock.for_people(clock.from_text(row.at), context.timezone)
    except ValueError:
        return None  # an unreadable time must not withhold the message (⚠58)


def _pretty(value: object) -> str:
    return content.clean(json.dumps(value, indent=2, ensure_ascii=False, default=str))
