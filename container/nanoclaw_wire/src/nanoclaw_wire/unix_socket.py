"""Unix sockets that are closed to other users from their first moment."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from nanoclaw_wire.socket_path import short_path


def bind_unix(path: Path, *, mode: int) -> socket.socket:
    """Create a unix socket with its mode, and bind it. Replace a socket that a dead process left.

    The socket does not listen yet, so no connection is accepted before the mode is set. It is created without any
    right for others, whatever the umask is; other threads create no files meanwhile that need more.

    Raises:
        OSError: The path cannot be bound; nothing is left open.
    """
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_path(path) as name:
            bound.bind(name)
    except BaseException:
        bound.close()
        raise
    finally:
        os.umask(before)
    try:
        path.chmod(mode)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
