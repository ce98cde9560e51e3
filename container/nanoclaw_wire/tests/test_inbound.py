"""Rows from the host to the runner, inbound.db."""

import apsw
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import AGENT_CHANNEL, Destination, InboundMessage, Kind, Routing, Status
from session_rows import AT, LATER, incoming


def ids(messages: list[InboundMessage]) -> list[str]:
    return [message.id for message in messages]


def pending_ids(
    db: apsw.Connection, *, fresh: bool = False, without: tuple[int, ...] = (), limit: int = 10
) -> list[str]:
    return ids(inbound.pending(db, now=AT, fresh=fresh, without=without, limit=limit))


def test_append_stores_pending_message(inbound_db: apsw.Connection) -> None:
    message = incoming("a", content='{"text": "hello"}', channel="c", room="r", thread="t", correlation_id="k")
    assert inbound.append(inbound_db, [message]) == [2]
    stored = inbound.by_seq(inbound_db, 2)
    assert stored is not None
    assert (stored.status, stored.content, stored.room, stored.thread) == (
        Status.PENDING,
        '{"text": "hello"}',
        "r",
        "t",
    )
    assert inbound.by_id(inbound_db, "a") == stored


@pytest.mark.invariant(number=2)
def test_append_numbers_are_even_and_in_order(inbound_db: apsw.Connection) -> None:
    assert inbound.append(inbound_db, [incoming("a"), incoming("b")]) == [2, 4]
    assert inbound.append(inbound_db, [incoming("c")]) == [6]
    assert inbound.highest(inbound_db) == 6


@pytest.mark.invariant(number=2)
def test_messages_in_refuses_odd_number(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound_db.execute(
            "INSERT INTO messages_in (seq, id, kind, at, content) VALUES (3, 'x', 'chat', ?, '{}')", (AT,)
        )


@pytest.mark.defect(number=21)
def test_append_of_same_id_keeps_row_and_number(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a", content='{"text": "first"}')])
    assert inbound.append(inbound_db, [incoming("b"), incoming("a", content='{"text": "again"}')]) == [4, 2]
    stored = inbound.by_id(inbound_db, "a")
    assert stored is not None
    assert stored.content == '{"text": "first"}'


@pytest.mark.parametrize("content", ["", "hello", "null", "[]", '"text"', "7"])
@pytest.mark.defect(number=58)
def test_append_of_other_content_is_refused(inbound_db: apsw.Connection, content: str) -> None:
    """Content must be a JSON object."""
    with pytest.raises(apsw.Error):
        inbound.append(inbound_db, [incoming("good"), incoming("bad", content=content)])
    assert inbound.highest(inbound_db) is None


@pytest.mark.invariant(number=9)
def test_messages_in_refuses_other_time_form(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound.append(inbound_db, [incoming("a", at="2026-01-05 15:04:00")])


@pytest.mark.defect(number=55)
def test_messages_in_refuses_empty_thread(inbound_db: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        inbound.append(inbound_db, [incoming("a", thread="")])


@pytest.mark.defect(number=7)
def test_pending_filters_before_limit(inbound_db: apsw.Connection) -> None:
    numbers = inbound.append(inbound_db, [incoming(str(number)) for number in range(15)])
    assert pending_ids(inbound_db, limit=10) == [str(number) for number in range(10)]
    assert pending_ids(inbound_db, without=tuple(numbers[:10]), limit=10) == ["10", "11", "12", "13", "14"]


@given(st.integers(0, 30), st.sets(st.integers(0, 29)), st.integers(1, 12))
@pytest.mark.defect(number=7)
def test_pending_returns_oldest_of_the_rest(count: int, acknowledged: set[int], limit: int) -> None:
    db = apsw.Connection(":memory:")
    db.execute(session_files.INBOUND_SCHEMA)
    numbers = inbound.append(db, [incoming(str(position)) for position in range(count)])
    without = [number for position, number in enumerate(numbers) if position in acknowledged]
    expected = [str(position) for position in range(count) if position not in acknowledged][:limit]
    assert ids(inbound.pending(db, now=AT, fresh=False, without=without, limit=limit)) == expected
    db.close()


@pytest.mark.invariant(number=5)
def test_pending_shows_on_wake_rows_to_fresh_runner(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("start", on_wake=True), incoming("plain")])
    assert pending_ids(inbound_db, fresh=False) == ["plain"]
    assert pending_ids(inbound_db, fresh=True) == ["start", "plain"]


def test_pending_skips_future_messages(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("later", process_after=LATER), incoming("now", process_after=AT)])
    assert pending_ids(inbound_db) == ["now"]
    assert ids(inbound.pending(inbound_db, now=LATER, fresh=False, without=(), limit=10)) == ["later", "now"]


def test_pending_skips_finished_and_paused_messages(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming(name) for name in ("done", "failed", "paused", "open")])
    changes = [("done", Status.COMPLETED), ("failed", Status.FAILED), ("paused", Status.PAUSED)]
    inbound.set_status(inbound_db, changes)
    assert pending_ids(inbound_db) == ["open"]


@pytest.mark.invariant(number=3)
def test_set_status_never_changes_finished_message(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a")])
    inbound.set_status(inbound_db, [("a", Status.COMPLETED)])
    inbound.set_status(inbound_db, [("a", Status.PENDING)])
    inbound.postpone(inbound_db, "a", tries=1, process_after=LATER)
    stored = inbound.by_id(inbound_db, "a")
    assert stored is not None
    assert (stored.status, stored.tries) == (Status.COMPLETED, 0)


def test_postpone_sets_time_and_tries(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("a")])
    inbound.postpone(inbound_db, "a", tries=3, process_after=LATER)
    assert pending_ids(inbound_db) == []
    assert inbound.next_due(inbound_db) == LATER


@pytest.mark.defect(number=28)
def test_waiting_skips_answers_and_context(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("answer", kind=Kind.SYSTEM), incoming("context", trigger=False)])
    assert (inbound.waiting(inbound_db, AT), inbound.next_due(inbound_db)) == ([], None)


def test_waiting_returns_due_messages(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming("now"), incoming("later", process_after=LATER)])
    assert ids(inbound.waiting(inbound_db, AT)) == ["now"]
    assert ids(inbound.waiting(inbound_db, LATER)) == ["now", "later"]
    assert inbound.waiting_ids(inbound_db, AT) == {"now"}
    assert inbound.waiting_ids(inbound_db, LATER) == {"now", "later"}


def test_latest_from_returns_newest_of_room(inbound_db: apsw.Connection) -> None:
    inbound.append(inbound_db, [incoming(name, channel="c", room="r") for name in ("old", "new")])
    stored = inbound.latest_from(inbound_db, "c", "r")
    assert stored is not None
    assert stored.id == "new"
    assert inbound.latest_from(inbound_db, "c", "other") is None


def test_destination_address_is_that_of_its_rows() -> None:
    """A row names an agent by its group."""
    room = Destination(name="b", kind="channel", channel="c", room="r")
    assert (room.address, evolve(room, room="s").address) == (("c", "r"), ("c", "s"))
    assert Destination(name="a", kind="agent", agent_group_id="ag-1").address == (AGENT_CHANNEL, "ag-1")


def test_set_destinations_replaces_all(inbound_db: apsw.Connection) -> None:
    first = Destination(name="b", kind="channel", channel="c", room="r")
    second = Destination(name="a", kind="agent", agent_group_id="ag-1")
    inbound.set_destinations(inbound_db, [first])
    inbound.set_destinations(inbound_db, [second, first])
    assert inbound.destinations(inbound_db) == [second, first]


def test_set_destinations_keeps_those_of_pending_messages(inbound_db: apsw.Connection) -> None:
    """The prompt of a pending message is not yet written, and needs a name for its room."""
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


def test_set_destinations_new_list_wins(inbound_db: apsw.Connection) -> None:
    """Neither a name nor a room is in the list twice."""
    inbound.set_destinations(inbound_db, [Destination(name="b", kind="channel", channel="c", room="r")])
    inbound.append(inbound_db, [incoming("a", channel="c", room="r")])
    same_name = Destination(name="b", kind="channel", channel="c", room="other")
    inbound.set_destinations(inbound_db, [same_name])
    assert inbound.destinations(inbound_db) == [same_name]
    same_room = Destination(name="d", kind="channel", channel="c", room="r")
    inbound.set_destinations(inbound_db, [same_room])
    assert inbound.destinations(inbound_db) == [same_room]


def test_routing_is_empty_until_set(inbound_db: apsw.Connection) -> None:
    assert inbound.routing(inbound_db) == Routing()
    inbound.set_routing(inbound_db, Routing(channel="c", room="r"))
    inbound.set_routing(inbound_db, Routing(channel="c", room="r", thread="t"))
    assert inbound.routing(inbound_db) == Routing(channel="c", room="r", thread="t")
