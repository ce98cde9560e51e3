"""The content of rows: what the host writes for runners, and how it reads what they write. Pure.

Everything that is read is checked, because a sandbox wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nanoclaw_wire.outbound import TEXT_AT_MOST


class Malformed(ValueError):
    """The content is not what a runner of ours writes; the message says what is wrong."""


@frozen(kw_only=True)
class CardOption:
    """One choice of a card: what the button says, and the value it stands for."""

    label: str
    value: str
    selected_label: str = ""


@frozen(kw_only=True)
class Card:
    """A question with choices, or something to show.

    Args:
        id: The question's id; an answer names it. Empty for a card that asks nothing.
        options: Empty for a card that asks nothing.
        extra: What the agent put beside it, for channels that can show more; JSON values.
    """

    title: str
    text: str = ""
    id: str = ""
    options: Sequence[CardOption] = ()
    extra: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Message:
    """What to send.

    Args:
        file_names: Not checked yet; whoever opens them does that.
        edit_of: The number of the message to change, or None.
        reaction_to: The number of the message to react to, or None.
        is_failure: True where it tells people that their message got no answer.
    """

    text: str = ""
    file_names: Sequence[object] = ()
    card: Card | None = None
    edit_of: int | None = None
    reaction_to: int | None = None
    emoji: str | None = None
    is_failure: bool = False


@frozen(kw_only=True)
class ActionRequest:
    """What a runner asks of the host: the name of an action, where to answer, and arguments that nobody checked yet.

    Args:
        correlation_id: Of the message that the runner was answering, as far as is known.
    """

    action: str
    request_id: str
    arguments: Mapping[str, Any] = field(factory=dict)
    correlation_id: str | None = None


_write_json = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` would make one for every message


def chat(
    text: str,
    *,
    sender: str = "",
    sender_id: str | None = None,
    attachments: Sequence[Mapping[str, Any]] = (),
    quoted: Mapping[str, Any] | None = None,
) -> str:
    """Write the content of an inbound CHAT row; what is empty or None is left out.

    Args:
        sender: The name that people go by.
        attachments: `{type, name, path?, url?}` each.
        quoted: `{message_id, sender, text}` of the message that this one answers.
    """
    found: dict[str, Any] = {"text": text, "sender_id": sender_id, "sender": sender, "attachments": list(attachments)}
    if quoted is not None:
        found["reply_to"] = {"id": quoted["message_id"], "sender": quoted["sender"], "text": quoted["text"]}
    return _write_json({key: value for key, value in found.items() if value or key == "text"})


def response(request_id: str, answer: Mapping[str, Any]) -> str:
    """Write the content of the SYSTEM row that answers a request: `{ok, data}` or `{ok, error}`."""
    return _write_json({"type": "response", "request_id": request_id, **answer})


def read_message(kind: str, content: str) -> Message:
    """Read the content of a CHAT or CARD row.

    Raises:
        Malformed: It does not say one thing to send.
    """
    found = _object(content)
    if kind == "card":
        return Message(card=_card(found), text=_text(found, "fallback_text"))
    operation = found.get("operation")
    if operation == "edit":
        return Message(edit_of=_number(found), text=_text(found, "text"))
    if operation == "reaction":
        return Message(reaction_to=_number(found), emoji=_text(found, "emoji"))
    if operation is not None:
        raise Malformed(f"unknown operation {operation!r}")
    names = found.get("files", [])
    if not isinstance(names, list):
        raise Malformed("files must be a list")
    text = _text(found, "text")
    if not text.strip() and not names:
        raise Malformed("neither text nor files")
    return Message(text=text, file_names=names, is_failure=found.get("is_failure") is True)


def read_request(content: str) -> ActionRequest:
    """Read the content of an ACTION row.

    Raises:
        Malformed: No action is named.
    """
    found = _object(content)
    action, request_id, arguments = found.get("action"), found.get("request_id"), found.get("arguments", {})
    if not isinstance(action, str) or not isinstance(request_id, str) or not isinstance(arguments, dict):
        raise Malformed("an action needs `action`, `request_id` and an object of `arguments`")
    return ActionRequest(action=action[:100], request_id=request_id[:200], arguments=arguments)


def _card(found: Mapping[str, Any]) -> Card:
    if found.get("type") != "ask_question":
        card = found.get("card")
        if not isinstance(card, dict):
            raise Malformed("a card needs an object `card`")
        return Card(title=_text(card, "title"), text=_text(card, "description"), extra=card)
    options = found.get("options")
    title, question_id = _text(found, "title"), _text(found, "question_id")
    if not title or not question_id or not isinstance(options, list) or not options:
        raise Malformed("a question needs `title`, `question_id` and a list of `options`")
    return Card(id=question_id, title=title, text=_text(found, "question"), options=[_option(one) for one in options])


def _option(option: object) -> CardOption:
    if isinstance(option, str):
        return CardOption(label=option, value=option, selected_label=option)
    if not isinstance(option, dict):
        raise Malformed(f"an option is a text or an object, not {type(option).__name__}")
    label = _text(option, "label")
    return CardOption(
        label=label, value=_text(option, "value") or label, selected_label=_text(option, "selected_label") or label
    )


def _object(content: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed("the content is no JSON") from error
    if not isinstance(found, dict):
        raise Malformed(f"the content is {type(found).__name__}, not an object")
    return found


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"{key} must be a text, not {type(value).__name__}")
    if len(value) > TEXT_AT_MOST:
        raise Malformed(f"{key} has {len(value)} characters; {TEXT_AT_MOST} are allowed")
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(found: Mapping[str, Any]) -> int:
    value = found.get("seq")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise Malformed(f"seq must be the number of a message, not {value!r}")
    return value
