"""Messages as text for people."""

from __future__ import annotations

from nanoclaw_channel_terminal.display import message_text


def test_message_text_escapes_control_characters():
    frame = {"type": "message", "text": "a\x1b[2Jb\x9bc\rd\te\r\nf \u202eg"}
    assert message_text(frame) == "a\\u001b[2Jb\\u009bc\\rd\te\nf \\u202eg"


def test_message_text_shows_invisible_fillers():
    assert message_text({"type": "message", "text": "a\u3164b\u2800\uffa0"}) == "a\\u3164b\\u2800\\uffa0"


def test_message_text_keeps_other_scripts_and_emoji():
    text = "שלום 你好 — 👋🏽 café 👩\u200d🚀"
    assert message_text({"type": "message", "text": text}) == text


def test_message_text_numbers_the_choices_of_a_card():
    card = {"title": "Deploy?", "text": "to production", "choices": ["Yes", "No"]}
    assert message_text({"type": "message", "text": "", "card": card}) == (
        "Deploy?\nto production\n  1) Yes\n  2) No\nAnswer with a number."
    )


def test_message_text_card_without_choices_has_no_prompt():
    assert message_text({"type": "message", "text": "", "card": {"title": "Done", "text": "", "choices": []}}) == "Done"


def test_message_text_marks_edits_and_reactions():
    assert message_text({"type": "message", "text": "new", "is_edit": True}) == "(edited a message) new"
    assert message_text({"type": "message", "text": "", "reaction": "thumbsup"}) == "(reacted with thumbsup)"
