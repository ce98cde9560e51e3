"""Messages as people see them."""

from __future__ import annotations

from nanoclaw_channel_terminal.display import message_text


def test_control_characters_cannot_steer_the_terminal():
    frame = {"type": "message", "text": "a\x1b[2Jb\x9bc\rd\te\r\nf \u202eg"}
    assert message_text(frame) == "a\\u001b[2Jb\\u009bc\\rd\te\nf \\u202eg"


def test_other_scripts_and_signs_stay():
    text = "שלום 你好 — 👋🏽 café 👩\u200d🚀"
    assert message_text({"type": "message", "text": text}) == text


def test_a_card_shows_its_choices_with_numbers():
    card = {"title": "Deploy?", "text": "to production", "choices": ["Yes", "No"]}
    assert message_text({"type": "message", "text": "", "card": card}) == (
        "Deploy?\nto production\n  1) Yes\n  2) No\nAnswer with a number."
    )


def test_a_card_that_asks_nothing_asks_for_no_number():
    assert message_text({"type": "message", "text": "", "card": {"title": "Done", "text": "", "choices": []}}) == "Done"


def test_a_change_and_a_reaction_are_said_to_be_such():
    assert message_text({"type": "message", "text": "new", "is_edit": True}) == "(changed its message) new"
    assert message_text({"type": "message", "text": "", "reaction": "thumbsup"}) == "(reacted with thumbsup)"
