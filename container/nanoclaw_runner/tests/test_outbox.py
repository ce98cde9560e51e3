"""Tests of the activity that the outbox stores with its messages."""

import pytest
from nanoclaw_runner.outbox import Outbox
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.outbound import Activity


@pytest.fixture
def outbox(tmp_path):
    session_files.create_outbound(tmp_path / "outbound.db")
    outbox = Outbox(tmp_path / "outbound.db", DoorbellClient(tmp_path / "bell.sock"))
    outbox.acquire()
    yield outbox
    outbox.close()


@pytest.fixture
def state(tmp_path, outbox):
    """Return a function that reads the stored activity."""
    db = session_files.open_readable(tmp_path / "outbound.db")
    yield lambda: outbound.runner_state(db)
    db.close()


def test_outbox_parallel_tools_stores_longest_timeout(outbox, state):
    """The host must not end the sandbox while any of the tools may still work."""
    for name, timeout_s in (("Read", 5), ("Bash", 600), ("Grep", None)):
        outbox.tool_started(name, timeout_s)
    assert (state().tool, state().tool_timeout_s) == ("Bash", 600)
    outbox.tool_ended("Bash")
    assert state().tool == "Read"


def test_outbox_unchanged_activity_is_not_written(outbox, state):
    """A write that changes no activity keeps its time."""
    outbox.write_activity()
    first = state()
    outbox.write_activity()
    outbox.claim(())
    assert (first.activity, state().activity) == (Activity.IDLE, Activity.BUSY)
    second = state()
    outbox.claim(())
    assert state() == second


def test_outbox_turn_end_forgets_its_tools(outbox, state):
    """A provider that does not report the end of a tool must not keep the sandbox alive."""
    outbox.claim(())
    outbox.tool_started("Bash", 600)
    outbox.turn_ended(is_busy=True)
    outbox.write_activity()
    assert (state().activity, state().tool) == (Activity.BUSY, None)
