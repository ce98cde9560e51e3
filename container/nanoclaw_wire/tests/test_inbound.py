"""inbound.db: what the host tells the runner."""

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import AGENT_CHANNEL, Destination, InboundMessage, Kind, Routing, Status
from session_rows import AT, LATER, incoming


def ids(messages: list[InboundMessage]) -> list[str]:
    return [message.id for message in messages]


def taken(db: apsw.Connection, *, fresh: bool = False, without: tuple[int, ...] = (), limit: int = 10) -> list[str]:
    return ids(inbound.pending(db, now=AT, fresh=fresh, without=without, limit=limit))


def test_a_stored_message_is_pending_and_whole(inbound_db: apsw.Connection) -> None:
    message = incoming("a", content='{"text": "hello"}', channel="c", room="r", thread="t", correlation_id="k")
    assert inbound.append(inbound_db, [message]) == [2]
    found = inbound.by_seq(inbound_db, 2)
    assert found is not None
    assert (found.status, found.content, found.room, found.thread) == (Status.PENDING, '{"text": "hello"}', "r", "t")
    assert inbound.by_id(inbound_db, "a") == found


def test_invariant_02_numbers_are_even_and_in_the_order_given(inbound_db: apsw.Connection) -> None:
    assert inbound.append(inbound_db, [incoming("a"), incoming("b")]) == [2, 4]
    assert inbound.append(inbound_db, [incoming("c")]) == [6]
    assert inbound.highest(inbound_db) == 6


def test_invariant_02_an_odd_number_is_refused_by_the_table(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound_db.execute(
            "INSERT INTO messages_in (seq, id, kind, at, content) VALUES (3, 'x', 'chat', ?, '{}')", (AT,)
        )


def test_warning_21_the_same_message_again_keeps_its_row_and_number(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a", content='{"text": "first"}')])
    assert inbound.append(inbound_db, [incoming("b"), incoming("a", content='{"text": "again"}')]) == [4, 2]
    found = inbound.by_id(inbound_db, "a")
    assert found is not None
    assert found.content == '{"text": "first"}'


@pytest.mark.parametrize("content", ["", "hello", "null", "[]", '"text"', "7"])
def test_warning_58_content_that_is_no_object_is_never_stored(inbound_db: apsw.Connection, content: str) -> None:
    with pytest.raises(apsw.Error):
        inbound.append(inbound_db, [incoming("good"), incoming("bad", content=content)])
    assert inbound.highest(inbound_db) is None


def test_invariant_09_a_time_in_another_form_is_refused_by_the_table(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound.append(inbound_db, [incoming("a", at="2026-01-05 15:04:00")])


def test_warning_55_an_empty_thread_is_refused_by_the_table(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound.append(inbound_db, [incoming("a", thread="")])


def test_warning_07_the_oldest_come_first_and_the_limit_counts_after_filtering(inbound_db: apsw.Connection) -> None:
    numbers = inbound.append(inbound_db, [incoming(str(number)) for number in range(15)])
    assert taken(inbound_db, limit=10) == [str(number) for number in range(10)]
    assert taken(inbound_db, without=tuple(numbers[:10]), limit=10) == ["10", "11", "12", "13", "14"]


@given(st.integers(0, 30), st.sets(st.integers(0, 29)), st.integers(1, 12))
def test_warning_07_whatever_is_taken_already_the_next_are_the_oldest_of_the_rest(
    count: int, taken_already: set[int], limit: int
) -> None:
    db = apsw.Connection(":memory:")
    db.execute(session_files.INBOUND_SCHEMA)
    numbers = inbound.append(db, [incoming(str(position)) for position in range(count)])
    without = [number for position, number in enumerate(numbers) if position in taken_already]
    expected = [str(position) for position in range(count) if position not in taken_already][:limit]
    assert ids(inbound.pending(db, now=AT, fresh=False, without=without, limit=limit)) == expected
    db.close()


def test_invariant_05_only_a_fresh_runner_sees_what_is_for_its_start(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("start", on_wake=True), incoming("plain")])
    assert taken(inbound_db, fresh=False) == ["plain"]
    assert taken(inbound_db, fresh=True) == ["start", "plain"]


def test_what_is_not_due_yet_is_not_taken(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("later", process_after=LATER), incoming("now", process_after=AT)])
    assert taken(inbound_db) == ["now"]
    assert ids(inbound.pending(inbound_db, now=LATER, fresh=False, without=(), limit=10)) == ["later", "now"]


def test_what_is_done_or_paused_is_not_taken(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming(name) for name in ("done", "failed", "paused", "open")])
    changes = [("done", Status.COMPLETED), ("failed", Status.FAILED), ("paused", Status.PAUSED)]
    inbound.set_status(inbound_db, changes)
    assert taken(inbound_db) == ["open"]


def test_invariant_03_a_finished_message_never_changes_again(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a")])
    inbound.set_status(inbound_db, [("a", Status.COMPLETED)])
    inbound.set_status(inbound_db, [("a", Status.PENDING)])
    inbound.postpone(inbound_db, "a", tries=1, process_after=LATER)
    found = inbound.by_id(inbound_db, "a")
    assert found is not None
    assert (found.status, found.tries) == (Status.COMPLETED, 0)


def test_a_postponed_message_waits_and_counts_its_tries(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a")])
    inbound.postpone(inbound_db, "a", tries=3, process_after=LATER)
    assert taken(inbound_db) == []
    assert inbound.next_due(inbound_db) == LATER


def test_warning_28_answers_and_context_wake_nobody(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("answer", kind=Kind.SYSTEM), incoming("context", trigger=False)])
    assert (inbound.waiting(inbound_db, AT), inbound.next_due(inbound_db)) == ([], None)


def test_what_wakes_is_waiting_when_it_is_due(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("now"), incoming("later", process_after=LATER)])
    assert ids(inbound.waiting(inbound_db, AT)) == ["now"]
    assert ids(inbound.waiting(inbound_db, LATER)) == ["now", "later"]


def test_the_latest_message_of_a_room_is_found(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming(name, channel="c", room="r") for name in ("old", "new")])
    found = inbound.latest_from(inbound_db, "c", "r")
    assert found is not None
    assert found.id == "new"
    assert inbound.latest_from(inbound_db, "c", "other") is None


def test_destinations_are_replaced_as_a_whole(inbound_db: apsw.Connection) -> None:
    first = Destination(name="b", kind="channel", channel="c", room="r")
    second = Destination(name="a", kind="agent", agent_group_id="ag-1")
    inbound.set_destinations(inbound_db, [first])
    inbound.set_destinations(inbound_db, [second, first])
    assert inbound.destinations(inbound_db) == [second, first]


def test_destinations_stay_while_a_message_from_there_waits(inbound_db: apsw.Connection) -> None:
    """The prompt of the message is still to be written, and needs a name for where it came from."""
    room = Destination(name="b", kind="channel", channel="c", room="r")
    peer = Destination(name="p", kind="agent", agent_group_id="ag-1")
    gone = Destination(name="g", kind="channel", channel="c", room="gone")
    inbound.set_destinations(inbound_db, [room, peer, gone])
    inbound.append(
        inbound_db, [incoming("a", channel="c", room="r"), incoming("b", channel=AGENT_CHANNEL, room="ag-1")]
    )
    inbound.set_destinations(inbound_db, [])
    assert inbound.destinations(inbound_db) == [room, peer]
    inbound.set_status(inbound_db, [("a", Status.COMPLETED), ("b", Status.FAILED)])
    inbound.set_destinations(inbound_db, [])
    assert inbound.destinations(inbound_db) == []


def test_a_new_list_wins_over_what_stays(inbound_db: apsw.Connection) -> None:
    """Neither a name nor a room stands in the list twice."""
    inbound.set_destinations(inbound_db, [Destination(name="b", kind="channel", channel="c", room="r")])
    inbound.append(inbound_db, [incoming("a", channel="c", room="r")])
    same_name = Destination(name="b", kind="channel", channel="c", room="other")
    inbound.set_destinations(inbound_db, [same_name])
    assert inbound.destinations(inbound_db) == [same_name]
    same_room = Destination(name="d", kind="channel", channel="c", room="r")
    inbound.set_destinations(inbound_db, [same_room])
    assert inbound.destinations(inbound_db) == [same_room]


def test_routing_is_empty_until_it_is_written(inbound_db: apsw.Connection) -> None:
    assert inbound.routing(inbound_db) == Routing()
    inbound.set_routing(inbound_db, Routing(channel="c", room="r"))
    inbound.set_routing(inbound_db, Routing(channel="c", room="r", thread="t"))
    assert inbound.routing(inbound_db) == Routing(channel="c", room="r", thread="t")
