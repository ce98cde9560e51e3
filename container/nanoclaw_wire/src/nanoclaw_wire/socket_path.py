"""Paths of unix sockets. A module of its own, so that a thin client loads neither asyncio nor attrs.

It does not use pathlib, because that import alone would take a quarter of the run time of `ncl` in a sandbox.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

NCL_SOCKET_VARIABLE = "NANOCLAW_NCL_SOCKET"  # the path of the socket of `ncl` in a sandbox


@contextlib.contextmanager
def short_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a name for a socket path that fits the 108 bytes of a socket address.

    On Linux, a long path is named through a descriptor of its directory. Elsewhere the path itself is yielded, and the
    system reports that it is too long.
    """
    full_path = os.fspath(path)
    if len(os.fsencode(full_path)) < 100 or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112  # no pathlib here
        yield full_path
        return
    parent, name = os.path.split(full_path)
    directory = os.open(parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{name}"
    finally:
        os.close(directory)
