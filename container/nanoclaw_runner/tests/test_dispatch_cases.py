"""Tests of model texts against the recorded deliveries of an earlier implementation."""

import json
from pathlib import Path

import pytest
from nanoclaw_runner.replies import parse
from nanoclaw_wire.inbound import Destination

RECORDED = json.loads(Path(__file__).with_name("dispatch_cases.json").read_text(encoding="utf-8"))
NAMES = ["family", "team", "worker-1", "a & b", "家族"]
# Our blocks if they differ, with the reason, by the number of the case.
DEVIATIONS = {
    14: ([("family", "text")], "thoughts in <internal> are never delivered, not even from a body"),
    16: ([], "an empty message says nothing"),
    20: ([("a & b", "amp entity")], "a name works as the prompt escapes it"),
    22: ([("family", "wrong case")], "a name works in any case"),
    32: ([("family", "extra attr")], "a further attribute changes nothing"),
    34: ([("family", "upper")], "a tag works in any case"),
    50: ([], "an <internal> that is never closed hides the rest: a draft must not go out"),
    58: ([("family", "\ufeffbom")], "white space is Python's; a byte order mark is harmless"),
    60: ([("family", "fs")], "white space is Python's; control characters at the ends are not missed"),
    106: ([], "an empty message says nothing"),
}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: str(recorded["case"]))
def test_parse_recorded_text_delivers_as_recorded(recorded):
    """Each text delivers its recorded blocks, unless a deviation is listed."""
    names = recorded.get("names", NAMES)
    destinations = [Destination(name=name, kind="channel", channel="chat", room=name) for name in names]
    sent = [(block.destination.name, block.body) for block in parse(recorded["text"], destinations).blocks]
    expected, _why = DEVIATIONS.get(recorded["case"], (list(map(tuple, recorded["sent"])), ""))
    assert expected == sent


def test_deviations_differ_from_their_recorded_cases():
    """A deviation that equals its recorded case is obsolete."""
    recorded = {case["case"]: list(map(tuple, case["sent"])) for case in RECORDED}
    assert all(sent != recorded[number] for number, (sent, _why) in DEVIATIONS.items())
