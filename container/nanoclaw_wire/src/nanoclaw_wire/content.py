"""The JSON content of rows: writers for the host, and readers of a runner's output. All functions are pure.

The readers validate every field, because a sandbox wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nanoclaw_wire.labels import MAX_ID_CHARACTERS, label
from nanoclaw_wire.outbound import MAX_TEXT_CHARACTERS

MAX_BRACKETS = 100_000  # of a row's JSON, those in its texts included: parsing takes 0.03 s
MAX_QUOTED_CHARACTERS = 2_000  # kept of the text of a quoted message
MAX_REQUEST_CHARACTERS = 256_000
"""Of one request. A runner refuses a longer one itself, because the host does not answer it."""


class Malformed(ValueError):
    """Content that no runner of ours writes. The message names the fault."""


@frozen(kw_only=True)
class CardOption:
    """One choice of a card: the label of a button and its value."""

    label: str
    value: str
    selected_label: str = ""


@frozen(kw_only=True)
class Card:
    """A question with choices, or a card to display.

    Args:
        id: The question's id, which an answer names. Empty if the card asks no question.
        options: Empty if the card asks no question.
        extra: JSON values that the agent added, for channels that can display more.
    """

    title: str
    text: str = ""
    id: str = ""
    options: Sequence[CardOption] = ()
    extra: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Message:
    """A message to send.

    Args:
        file_names: Unchecked values. The code that opens the files validates them.
        edit_of: The number of the message to edit, or None.
        reaction_to: The number of the message to react to, or None.
        is_failure: True if the text tells people that their message got no answer.
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
    """A runner's request to the host.

    Args:
        action: The action's name.
        request_id: The id that the answer repeats.
        arguments: Unchecked values.
        correlation_id: Id of the message that the runner was answering, or None if it is unknown.
        refusal: The host's reason not to run it; empty if it may run.
    """

    action: str
    request_id: str
    arguments: Mapping[str, Any] = field(factory=dict)
    correlation_id: str | None = None
    refusal: str = ""


_write_json = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` would build an encoder for every message


def chat(
    text: str,
    *,
    sender: str = "",
    sender_id: str | None = None,
    attachments: Sequence[Mapping[str, Any]] = (),
    quoted: Mapping[str, Any] | None = None,
) -> str:
    """Write the content of an inbound CHAT row, without the fields that are empty or None.

    Args:
        text: The message's text. It is written even if it is empty.
        sender: The sender's display name, of which the label is written.
        sender_id: The sender's user id, or None.
        attachments: `{type, name, path?, url?}` each.
        quoted: `{message_id, sender, text}` of the message that this one answers, or None.
    """
    fields: dict[str, Any] = {"text": text, "sender_id": sender_id, "sender": label(sender)}
    fields["attachments"] = list(attachments)
    if quoted is not None:
        quoted_id, quoted_sender = str(quoted["message_id"] or ""), str(quoted["sender"] or "")
        quoted_id = quoted_id[:MAX_ID_CHARACTERS]
        text_of_quoted = (quoted["text"] or "")[:MAX_QUOTED_CHARACTERS]
        fields["reply_to"] = {"id": quoted_id, "sender": label(quoted_sender), "text": text_of_quoted}
    return _write_json({key: value for key, value in fields.items() if value or key == "text"})


def response(request_id: str, answer: Mapping[str, Any]) -> str:
    """Write the content of the SYSTEM row that answers a request: `{ok, data}` or `{ok, error}`.

    Half characters, which an answer may quote of its request, become question marks, or no file could store the row.
    """
    text = _write_json({"type": "response", "request_id": request_id, **answer})
    return text.encode("utf-8", "replace").decode("utf-8")


def read_message(kind: str, content: str) -> Message:
    """Parse the content of a CHAT or CARD row.

    Raises:
        Malformed: The content is not one valid message.
    """
    fields = _object(content)
    if kind == "card":
        return Message(card=_card(fields), text=_text(fields, "fallback_text"))
    operation = fields.get("operation")
    if operation == "edit":
        return Message(edit_of=_number(fields), text=_text(fields, "text"))
    if operation == "reaction":
        return Message(reaction_to=_number(fields), emoji=_text(fields, "emoji"))
    if operation is not None:
        raise Malformed(f"`operation` must be `edit` or `reaction`, got {operation!r:.80}")
    names = fields.get("files", [])
    if not isinstance(names, list):
        raise Malformed(f"`files` must be a list, got {type(names).__name__}")
    text = _text(fields, "text")
    if not text.strip() and not names:
        raise Malformed("`text` and `files` are both empty. Set one of them.")
    return Message(text=text, file_names=names, is_failure=fields.get("is_failure") is True)


def read_request(content: str) -> ActionRequest:
    """Parse the content of an ACTION row.

    Raises:
        Malformed: The content is not a valid request, or too long.
    """
    if len(content) > MAX_REQUEST_CHARACTERS:  # before anything looks at it (I14)
        raise Malformed(f"a request must have at most {MAX_REQUEST_CHARACTERS} characters, got {len(content)}")
    fields = _object(content)
    action, request_id, arguments = fields.get("action"), fields.get("request_id"), fields.get("arguments", {})
    if not isinstance(action, str) or not isinstance(request_id, str) or not isinstance(arguments, dict):
        raise Malformed("an action must have the strings `action` and `request_id`, and an object `arguments`")
    return ActionRequest(action=action[:100], request_id=request_id[:200], arguments=arguments)


def _card(fields: Mapping[str, Any]) -> Card:
    if fields.get("type") != "ask_question":
        card = fields.get("card")
        if not isinstance(card, dict):
            raise Malformed(f"`card` must be an object, got {type(card).__name__}")
        return Card(title=_text(card, "title"), text=_text(card, "description"), extra=card)
    options = fields.get("options")
    title, question_id = _text(fields, "title"), _text(fields, "question_id")
    if not title or not question_id or not isinstance(options, list) or not options:
        raise Malformed("a question must have `title`, `question_id` and a list `options`, none of them empty")
    choices = [_option(option) for option in options]
    return Card(id=question_id, title=title, text=_text(fields, "question"), options=choices)


def _option(option: object) -> CardOption:
    if isinstance(option, str):
        return CardOption(label=option, value=option, selected_label=option)
    if not isinstance(option, dict):
        raise Malformed(f"an option must be a string or an object, got {type(option).__name__}")
    label = _text(option, "label")
    return CardOption(
        label=label, value=_text(option, "value") or label, selected_label=_text(option, "selected_label") or label
    )


def _object(content: str) -> dict[str, Any]:
    if content.count("[") + content.count("{") > MAX_BRACKETS:  # a value of each takes much longer than a character
        raise Malformed(f"the content must have at most {MAX_BRACKETS} brackets")
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed("the content is not valid JSON") from error
    if not isinstance(fields, dict):
        raise Malformed(f"the content must be a JSON object, got {type(fields).__name__}")
    return fields


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"`{key}` must be a string, got {type(value).__name__}")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise Malformed(f"`{key}` must have at most {MAX_TEXT_CHARACTERS} characters, got {len(value)}")
    return value.encode("utf-8", "replace").decode("utf-8")


def _number(fields: Mapping[str, Any]) -> int:
    value = fields.get("seq")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise Malformed(f"`seq` must be the number of a message, got {value!r:.80}")
    return value
