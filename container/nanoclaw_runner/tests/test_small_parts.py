import io
import json
import logging

import pytest
from attrs import evolve
from nanoclaw_runner import recovery
from nanoclaw_runner.activity import ActivityTracker
from nanoclaw_runner.error_messages import words_for
from nanoclaw_runner.instructions import write_instructions
from nanoclaw_runner.logs import JsonLines
from nanoclaw_runner.outbound_builder import human_conversations
from nanoclaw_runner.recovery import Retry, Verdict
from nanoclaw_runner.testing import FAMILY, WORK
from nanoclaw_wire.config import McpServer, RunnerConfig
from nanoclaw_wire.events import Error, ErrorClass
from nanoclaw_wire.outbound import Activity

CONFIG = RunnerConfig(session_id="s", agent_group_id="g", group_name="G", provider="mock")
ERROR = Error(message="boom", retryable=True)


def test_the_longest_of_parallel_tools_is_told():
    activity = ActivityTracker()
    activity.tool_started("Read", 5, "t1")
    activity.tool_started("Bash", 600, "t2")
    activity.tool_started("Grep", None, "t3")
    state = activity.change("t4")
    assert (state.tool, state.tool_timeout_s, state.tool_started_at) == ("Bash", 600, "t2")
    activity.tool_ended("Bash")
    assert activity.change("t5").tool == "Read"


def test_a_state_is_given_out_only_when_it_changed():
    activity = ActivityTracker()
    assert Activity.IDLE is activity.change("t1").activity
    assert activity.change("t2") is None
    activity.set_busy(True)
    assert Activity.BUSY is activity.change("t3").activity


def test_what_may_work_later_is_tried_again_after_growing_pauses():
    after = [recovery.after(ERROR, failures=n, can_start_anew=False, delays_s=(2, 8)) for n in range(3)]
    assert [Retry(2), Retry(8), Verdict.GIVE_UP] == after


def test_what_never_works_is_not_tried_again():
    error = Error(message="no", retryable=False)
    assert Verdict.GIVE_UP is recovery.after(error, failures=0, can_start_anew=False, delays_s=(2,))


def test_a_lost_conversation_starts_anew_first():
    assert Verdict.START_ANEW is recovery.after(ERROR, failures=0, can_start_anew=True, delays_s=(2,))


@pytest.mark.parametrize("kind", ErrorClass)
def test_warning_12_every_kind_of_error_has_plain_words_with_a_reference(kind):
    assert "(Reference: corr-1)" in words_for(kind, "corr-1")
    assert "Error" not in words_for(kind, "corr-1")


def test_warning_47_only_people_who_wait_are_told_of_errors(make_row):
    rows = [
        make_row(channel="agent", room="ag-peer"),
        make_row(channel=None, room=None),
        make_row(trigger=False, room="r9"),
        make_row(thread="t1"),
        make_row(thread="t1"),
    ]
    [conversation] = human_conversations(rows)
    assert ("chat", "r1", "t1", rows[-1].id) == (
        conversation.channel,
        conversation.room,
        conversation.thread,
        conversation.in_reply_to,
    )


def test_instructions_name_several_destinations_and_their_rules():
    text = write_instructions(CONFIG, [FAMILY, WORK])
    assert "- `family` (Family Chat)\n- `work`\n" in text
    assert "answer to the `from`" in text
    assert "# You are" not in text


def test_instructions_tell_where_a_block_ends():
    """The model can know how to quote a tag, and that thoughts reach nobody."""
    text = write_instructions(CONFIG, [FAMILY])
    assert "ends at its first `</message>`" in text
    assert "nothing in there is delivered" in text


def test_instructions_for_one_destination_still_ask_for_a_block():
    text = write_instructions(CONFIG, [WORK])
    assert "Your one destination is `work`." in text
    assert '<message to="work">' in text
    assert "send_message" in text


def test_instructions_without_destinations_say_so():
    assert "no destinations" in write_instructions(CONFIG, [])


def test_instructions_carry_name_plugins_servers_and_extra_text():
    servers = {"maps": McpServer(command="maps", instructions="Ask maps.")}
    config = RunnerConfig(
        session_id="s",
        agent_group_id="g",
        group_name="G",
        provider="mock",
        assistant_name="Sam",
        mcp_servers=servers,
        instructions="Be brief.",
    )
    text = write_instructions(config, [], ["From a plugin."])
    assert text.startswith("# You are Sam\n")
    assert text.endswith("From a plugin.\n\nAsk maps.\n\nBe brief.")


@pytest.mark.parametrize(
    ("scope", "reach"), [("group", "your own agent group and nothing else"), ("global", "all agent groups")]
)
def test_instructions_tell_of_ncl_with_its_scope(scope, reach):
    text = write_instructions(evolve(CONFIG, cli_scope=scope), [])
    assert reach in text
    assert all(word in text for word in ("`ncl help`", "`approval-pending`"))


def test_instructions_have_no_word_of_ncl_where_its_scope_is_disabled():
    assert "ncl" not in write_instructions(evolve(CONFIG, cli_scope="disabled"), [FAMILY])


def test_a_log_line_is_json_with_values_and_correlation():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(lambda: "corr-1"))
    logger = logging.Logger("nanoclaw.test")
    logger.addHandler(handler)
    logger.info("turn ended", extra={"replies": 2})
    line = json.loads(stream.getvalue())
    assert (
        line["message"],
        line["replies"],
        line["correlation_id"],
        line["level"],
    ) == ("turn ended", 2, "corr-1", "info")
