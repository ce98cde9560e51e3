"""Unix sockets and their modes."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from nanoclaw_wire.unix_socket import bind_unix


@pytest.mark.invariant(number=7)
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_bound_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0)
    try:
        with bind_unix(tmp_path / "a.sock", mode=mode):
            assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == mode
    finally:
        assert os.umask(before) == 0  # it is restored


@pytest.mark.invariant(number=7)
def test_bound_socket_does_not_listen_yet(tmp_path: Path) -> None:
    """A connection before the mode is set would be one of another user."""
    refused = pytest.raises(ConnectionRefusedError)
    with bind_unix(tmp_path / "a.sock", mode=0o666), socket.socket(socket.AF_UNIX) as client, refused:
        client.connect(str(tmp_path / "a.sock"))


def test_bound_socket_replaces_that_of_a_dead_process(tmp_path: Path) -> None:
    bind_unix(tmp_path / "a.sock", mode=0o600).close()
    bind_unix(tmp_path / "a.sock", mode=0o600).close()


def test_socket_in_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bind_unix(tmp_path / "missing" / "a.sock", mode=0o600)
