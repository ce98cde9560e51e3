"""Parsing of a runner's content (⚠41, ⚠58): the result is valid or `Malformed`, never another error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.content import ActionRequest, Malformed, Message, read_message, read_request
from nanoclaw_wire.outbound import MAX_TEXT_CHARACTERS

from nanoclaw_core import Card, CardOption

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "text", "files", "operation", "seq", "emoji", "type", "title", "question_id", "question", "options", "card",
        "fallback_text", "label", "value", "action", "request_id", "arguments", "description",
    ]
)  # fmt: skip
STRINGS = st.sampled_from(["edit", "reaction", "ask_question", "card", "a", ""])
NEARLY_VALID = st.dictionaries(
    KEYS, STRINGS | st.lists(STRINGS | JSON, max_size=2) | st.integers(-1, 5) | JSON, max_size=6
)


def read(content: object, kind: str = "chat") -> Message:
    return read_message(kind, json.dumps(content))


def refused(content: object, kind: str = "chat") -> str:
    with pytest.raises(Malformed) as caught:
        read(content, kind)
    return str(caught.value)


@pytest.mark.parametrize(("value", "is_failure"), [(True, True), (False, False), ("yes", False), (1, False)])
def test_read_message_is_failure_only_for_true(value: object, is_failure: bool) -> None:
    assert read({"text": "hello", "is_failure": value}).is_failure is is_failure


def test_read_message_text_is_a_message() -> None:
    message = read({"text": "hello"})
    assert (message.text, list(message.file_names), message.card) == ("hello", [], None)


def test_read_message_files_need_no_text() -> None:
    assert read({"files": ["a.txt"]}) == Message(file_names=["a.txt"])


def test_read_message_edit_has_number_and_text() -> None:
    assert read({"operation": "edit", "seq": 3, "text": "better"}) == Message(edit_of=3, text="better")


def test_read_message_reaction_has_number_and_emoji() -> None:
    assert read({"operation": "reaction", "seq": 4, "emoji": "eyes"}) == Message(reaction_to=4, emoji="eyes")


def test_read_message_question_becomes_card() -> None:
    content = {"type": "ask_question", "question_id": "q", "title": "Go?", "question": "Now?"}
    message = read(content | {"options": ["Yes", {"label": "No", "value": "n", "selected_label": "Not now"}]}, "card")
    assert message.card == Card(
        id="q",
        title="Go?",
        text="Now?",
        options=[
            CardOption(label="Yes", value="Yes", selected_label="Yes"),
            CardOption(label="No", value="n", selected_label="Not now"),
        ],
    )


def test_read_message_card_keeps_extra_values() -> None:
    card = {"title": "Weather", "description": "Rain", "colour": "grey"}
    message = read({"type": "card", "card": card, "fallback_text": "Rain."}, "card")
    assert message == Message(text="Rain.", card=Card(title="Weather", text="Rain", extra=card))


@pytest.mark.parametrize(
    "content",
    [
        None,
        "/clear",
        7,
        [],
        {},
        {"text": ""},
        {"text": " \n"},
        {"text": 7},
        {"text": None},
        {"files": "a.txt"},
        {"operation": "delete", "seq": 1},
        {"operation": {}, "text": "x"},
        {"operation": "edit", "text": "x"},
        {"operation": "edit", "seq": "3", "text": "x"},
        {"operation": "edit", "seq": True, "text": "x"},
        {"operation": "edit", "seq": 0, "text": "x"},
        {"operation": "reaction", "seq": 2.5, "emoji": "x"},
        {"text": "x" * (MAX_TEXT_CHARACTERS + 1)},
    ],
)
@pytest.mark.defect(number=58)
def test_read_message_without_content_is_refused(content: object) -> None:
    assert refused(content)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"card": "text"},
        {"type": "ask_question", "question_id": "q", "title": "t"},
        {"type": "ask_question", "question_id": "q", "title": "t", "options": []},
        {"type": "ask_question", "question_id": "q", "title": "", "options": ["a"]},
        {"type": "ask_question", "question_id": "", "title": "t", "options": ["a"]},
        {"type": "ask_question", "question_id": "q", "title": "t", "options": [7]},
        {"type": "ask_question", "question_id": "q", "title": "t", "options": "yes"},
        {"type": "ask_question", "question_id": "q", "title": {"a": 1}, "options": ["a"]},
    ],
)
def test_read_message_invalid_card_is_refused(content: object) -> None:
    assert refused(content, "card")


@pytest.mark.parametrize("content", ["", "{", "hello", "\ud800", "[" * 100_000, '{"text": "x"', "9" * 5000])
@pytest.mark.defect(number=41)
def test_read_content_without_json_is_refused(content: str) -> None:
    for kind in ("chat", "card"):
        with pytest.raises(Malformed):
            read_message(kind, content)
    with pytest.raises(Malformed):
        read_request(content)


def test_read_message_replaces_lone_surrogates() -> None:
    """A lone surrogate cannot be encoded, so no database could store the text."""
    assert read_message("chat", '{"text": "a\\ud800b"}').text == "a?b"


def test_read_request_has_action_and_request_id() -> None:
    content = json.dumps({"action": "schedule", "request_id": "r", "arguments": {"a": 1}})
    assert read_request(content) == ActionRequest(action="schedule", request_id="r", arguments={"a": 1})
    assert read_request('{"action": "a", "request_id": "r"}').arguments == {}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"action": "a"},
        {"request_id": "r"},
        {"action": 7, "request_id": "r"},
        {"action": "a", "request_id": None},
        {"action": "a", "request_id": "r", "arguments": []},
        [],
        None,
    ],
)
def test_read_request_without_fields_is_refused(content: object) -> None:
    with pytest.raises(Malformed):
        read_request(json.dumps(content))


@given(NEARLY_VALID | JSON, st.sampled_from(["chat", "card"]))
@pytest.mark.defect(number=41)
def test_read_message_any_json_is_valid_or_malformed(content: Any, kind: str) -> None:
    try:
        message = read_message(kind, json.dumps(content))
    except Malformed:
        return
    assert isinstance(message.text, str)
    message.text.encode()


@given(NEARLY_VALID | JSON)
@pytest.mark.defect(number=41)
def test_read_request_any_json_is_valid_or_malformed(content: Any) -> None:
    try:
        request = read_request(json.dumps(content))
    except Malformed:
        return
    assert isinstance(request.arguments, dict)


@given(st.text(), st.sampled_from(["chat", "card"]))
@pytest.mark.defect(number=41)
def test_read_message_any_text_is_valid_or_malformed(content: str, kind: str) -> None:
    try:
        assert isinstance(read_message(kind, content), Message)
    except Malformed:
        return
