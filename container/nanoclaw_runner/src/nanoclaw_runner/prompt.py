"""Writes rows as the model reads them. The shapes are a contract with the instructions and with what models learnt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.inbound import Destination, InboundMessage, Kind

from nanoclaw_runner import content, destinations


@frozen(kw_only=True)
class PromptContext:
    """What formatting needs beside the rows.

    Args:
        timezone: An IANA name; anything else counts as UTC.
        incoming: Where the agent finds files that came in.
    """

    timezone: str
    incoming: Path
    destinations: Sequence[Destination] = ()


def write_prompt(rows: Sequence[InboundMessage], around: PromptContext, *, left_out: int = 0) -> str:
    """Return a prompt: the header with the time zone, then chats, tasks, webhooks and system answers.

    Args:
        left_out: How many older messages the model is not told.
    """
    header = f'<context timezone="{escape(around.timezone)}" />\n'
    if left_out:
        header += f'<earlier_messages left_out="{left_out}" />\n'
    return header + "\n\n".join(block for block in _blocks(rows, around) if block)


def escape(text: str) -> str:
    """Replace the four characters that would end a text or an attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _blocks(rows: Sequence[InboundMessage], around: PromptContext) -> list[str]:
    chats = [_chat(row, around) for row in rows if row.kind is Kind.CHAT]
    block = "<messages>\n" + "\n".join(chats) + "\n</messages>" if len(chats) > 1 else "".join(chats)
    others: tuple[tuple[Kind, Callable[[InboundMessage, PromptContext], str]], ...] = (
        (Kind.TASK, _task),
        (Kind.WEBHOOK, _webhook),
        (Kind.SYSTEM, _system),
    )
    return [block, *(write(row, around) for kind, write in others for row in rows if row.kind is kind)]


def _chat(row: InboundMessage, around: PromptContext) -> str:
    said = content.read(row.content) or {}
    quote = content.quote(said)
    attributes = _attributes(
        id=str(row.seq),
        **{"from": destinations.origin(around.destinations, row)},
        sender=content.sender(said),
        time=_time(row, around),
        reply_to=quote.id or None,
    )
    quoted = ""
    if quote.sender and quote.text:
        quoted = f'\n  <quoted_message from="{escape(quote.sender)}">{escape(quote.text)}</quoted_message>\n'
    text = escape(content.as_text(said.get("text")))
    files = "".join(f"\n{_file(file, around.incoming)}" for file in content.files(said))
    return f"<message{attributes}>{quoted}{text}{files}</message>"


def _file(file: content.File, incoming: Path) -> str:
    label = f"{escape(file.kind)}: {escape(file.name)}"
    if file.path:
        return f"[{label} — saved to {escape(str(incoming / file.path))}]"
    return f"[{label} ({escape(file.url)})]" if file.url else f"[{label}]"


def _task(row: InboundMessage, around: PromptContext) -> str:
    task = content.read(row.content) or {}
    output = ""
    if task.get("script_output") is not None:
        output = f"Script output:\n{_pretty(task['script_output'])}\n\n"
    attributes = _attributes(**{"from": destinations.origin(around.destinations, row)}, time=_time(row, around))
    return f"<task{attributes}>\n{output}Instructions:\n{content.as_text(task.get('prompt'))}\n</task>"


def _webhook(row: InboundMessage, around: PromptContext) -> str:
    hook = content.read(row.content) or {}
    attributes = _attributes(
        **{"from": destinations.origin(around.destinations, row)},
        source=content.as_text(hook.get("source")) or "unknown",
        event=content.as_text(hook.get("event")) or "unknown",
    )
    payload = hook["payload"] if hook.get("payload") is not None else hook
    return f"<webhook{attributes}>\n{escape(_pretty(payload))}\n</webhook>"


def _system(row: InboundMessage, around: PromptContext) -> str:
    answer = content.read(row.content) or {}
    attributes = _attributes(
        **{"from": destinations.origin(around.destinations, row)},
        action=content.as_text(answer.get("action")) or "unknown",
        status=content.as_text(answer.get("status")) or "unknown",
    )
    return f"<system_response{attributes}>\n{escape(_pretty(answer.get('result')))}\n</system_response>"


def _attributes(**values: str | None) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value is not None)


def _time(row: InboundMessage, around: PromptContext) -> str | None:
    try:
        return clock.for_people(clock.from_text(row.at), around.timezone)
    except ValueError:
        return None  # a time that cannot be read is no reason to withhold what was said (⚠58)


def _pretty(value: object) -> str:
    return content.clean(json.dumps(value, indent=2, ensure_ascii=False, default=str))
