"""Names for unix sockets; apart from `doorbell` and `layout`, as a thin client need load neither asyncio nor attrs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NCL_SOCKET_VARIABLE = "NANOCLAW_NCL_SOCKET"  # where `ncl` asks in a sandbox


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for a socket path that fits the 108 bytes of a socket address.

    A long path is reached through a descriptor of its directory (Linux); where that is not to be had the path itself
    is given, and the system says that it is too long.
    """
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
