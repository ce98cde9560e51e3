"""Paths of a session's files, and the names that may become one of them."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.layout import Layout, is_safe_name


@pytest.mark.invariant(number=6)
def test_layout_separates_files_of_host_and_sandbox() -> None:
    layout = Layout(incoming=Path("/s/in"), outgoing=Path("/s/out"))
    ours = (layout.inbound_db, layout.config, layout.inbox, layout.bell, layout.gateway)
    theirs = (layout.outbound_db, layout.outbox, layout.heartbeat, layout.state, layout.runner_log)
    assert {path.parent for path in ours} == {Path("/s/in")}
    assert {path.parent for path in theirs} == {Path("/s/out")}


@pytest.mark.parametrize("name", ["photo.jpg", "a b", "ä.txt", "..hidden", "-x", "日本.pdf"])
def test_is_safe_name_accepts_plain_names(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc", "a\\b", "a\0", "a\nb", "\ud800", "x" * 256, "ä" * 128, None, 7, b"a", ["a"]]
)
def test_is_safe_name_refuses_other_values(name: object) -> None:
    assert not is_safe_name(name)


@given(st.text())
def test_is_safe_name_means_one_path_component(name: str) -> None:
    if is_safe_name(name):
        path = PurePosixPath("/root") / name
        assert path.parent == PurePosixPath("/root")
        assert path.name == name
