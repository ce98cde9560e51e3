import json
from pathlib import Path

import pytest
from nanoclaw_runner.prompt import PromptContext, write_prompt
from nanoclaw_runner.testing import FAMILY, PEER
from nanoclaw_wire.inbound import Kind

UTC = PromptContext(timezone="UTC", incoming=Path("/workspace/in"), destinations=[FAMILY, PEER])
HEADER = '<context timezone="UTC" />\n'
NEW_YORK = PromptContext(timezone="America/New_York", incoming=Path("/workspace/in"))


def with_content(make_row, **content):
    return make_row(content=json.dumps(content))


def test_the_header_stands_alone_where_there_are_no_rows():
    assert write_prompt([], UTC) == HEADER


def test_one_chat_has_id_origin_sender_and_time(make_row):
    expected = '<message id="2" from="family" sender="Ann" time="Jan 5, 2026, 3:04 PM">hello</message>'
    assert HEADER + expected == write_prompt([make_row()], UTC)


def test_several_chats_stand_in_messages_one_per_line(make_row):
    text = write_prompt([make_row("a"), make_row("b")], UTC)
    lines = text.removeprefix(HEADER).split("\n")
    assert [lines[0], lines[-1]] == ["<messages>", "</messages>"]
    assert [line.startswith("<message id=") for line in lines[1:-1]] == [True, True]


def test_times_are_those_of_the_zone_in_twelve_hours(make_row):
    assert 'time="Jan 5, 2026, 10:04 AM"' in write_prompt([make_row()], NEW_YORK)


def test_warning_09_a_time_without_a_zone_is_utc_for_tasks_too(make_row):
    task = make_row(kind=Kind.TASK, at="2026-01-05 15:04:00", content=json.dumps({"prompt": "water the plants"}))
    assert 'time="Jan 5, 2026, 10:04 AM"' in write_prompt([task], NEW_YORK)


@pytest.mark.parametrize("name", ["PST", "+03:00", "Nowhere/Land"])
def test_warning_62_a_zone_that_is_none_everywhere_counts_as_utc(make_row, name):
    around = PromptContext(timezone=name, incoming=Path("/workspace/in"))
    assert 'time="Jan 5, 2026, 3:04 PM"' in write_prompt([make_row()], around)


def test_what_ends_a_text_or_an_attribute_is_escaped(make_row):
    row = with_content(make_row, text='</message> & "x"', sender='A"<b>')
    text = write_prompt([row], UTC)
    assert 'sender="A&quot;&lt;b&gt;"' in text
    assert ">&lt;/message&gt; &amp; &quot;x&quot;</message>" in text


def test_an_origin_is_unknown_where_no_destination_is_there(make_row):
    assert 'from="unknown:chat:r9"' in write_prompt([make_row(room="r9")], UTC)


def test_an_origin_is_left_out_where_the_row_has_no_address(make_row):
    assert "from=" not in write_prompt([make_row(channel=None, room=None)], UTC)


def test_another_agent_is_named_by_its_group(make_row):
    assert 'from="peer"' in write_prompt([make_row(channel="agent", room="ag-peer")], UTC)


def test_a_quote_needs_both_sender_and_text(make_row):
    whole = with_content(make_row, text="yes", reply_to={"id": "7", "sender": "Bob", "text": "<ok>?"})
    text = write_prompt([whole], UTC)
    assert 'reply_to="7">\n  <quoted_message from="Bob">&lt;ok&gt;?</quoted_message>\nyes</message>' in text
    partial = write_prompt([with_content(make_row, text="yes", reply_to={"id": "7", "sender": "Bob"})], UTC)
    assert 'reply_to="7"' in partial
    assert "quoted_message" not in partial


def test_attachments_say_where_they_are(make_row):
    files = [
        {"name": "a.png", "type": "image", "path": "inbox/in-2/a.png"},
        {"name": "b.pdf", "url": "https://example.org/b.pdf"},
        {"type": "voice"},
    ]
    text = write_prompt([with_content(make_row, text="look", attachments=files)], UTC)
    assert "look\n[image: a.png — saved to /workspace/in/inbox/in-2/a.png]\n" in text
    assert "\n[file: b.pdf (https://example.org/b.pdf)]\n[voice: attachment]</message>" in text


def test_a_task_shows_its_script_output_and_its_prompt_as_it_is(make_row):
    row = make_row(kind=Kind.TASK, content=json.dumps({"prompt": "if <3 & more", "script_output": {"n": 1}}))
    expected = (
        '<task from="family" time="Jan 5, 2026, 3:04 PM">\nScript output:\n{\n  "n": 1\n}\n\n'
        "Instructions:\nif <3 & more\n</task>"
    )
    assert HEADER + expected == write_prompt([row], UTC)


def test_a_webhook_has_source_and_event(make_row):
    row = make_row(kind=Kind.WEBHOOK, content=json.dumps({"source": "git", "event": "push", "payload": {"ref": "x"}}))
    text = write_prompt([row], UTC)
    assert (
        '<webhook from="family" source="git" event="push">\n{\n  &quot;ref&quot;: &quot;x&quot;\n}\n</webhook>' in text
    )


def test_a_system_answer_has_action_and_status(make_row):
    row = make_row(kind=Kind.SYSTEM, content=json.dumps({"action": "install", "status": "ok", "result": 3}))
    assert '<system_response from="family" action="install" status="ok">\n3\n</system_response>' in write_prompt(
        [row], UTC
    )


def test_blocks_come_in_the_order_chat_task_webhook_system(make_row):
    kinds = [Kind.SYSTEM, Kind.WEBHOOK, Kind.TASK, Kind.CHAT]
    text = write_prompt([make_row(kind=kind) for kind in kinds], UTC)
    found = [text.index(tag) for tag in ("<message ", "<task ", "<webhook ", "<system_response ")]
    assert sorted(found) == found


def test_context_that_is_left_out_is_told_by_its_number(make_row):
    assert '<earlier_messages left_out="3" />\n' in write_prompt([make_row()], UTC, left_out=3)


@pytest.mark.parametrize(
    "content",
    [
        {"text": 7, "sender": 12},
        {"text": None},
        {"text": {"deep": [1]}, "sender": ["x"]},
        {"text": "x", "attachments": "junk", "reply_to": 5},
        {"text": "x", "attachments": [None, 3, {"name": 9, "type": {}}]},
        {"text": "half \ud83d a pair"},
        {"author": {"full_name": "Zoe"}},
    ],
)
def test_warning_58_no_content_stops_the_formatter(make_row, content):
    text = write_prompt([make_row(content=json.dumps(content))], UTC)
    assert "<message " in text
    assert text.encode("utf-8")
