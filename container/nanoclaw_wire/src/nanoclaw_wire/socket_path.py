"""Names for unix sockets; apart from `doorbell` and `layout`, as a thin client need load neither asyncio nor attrs.

Nor pathlib, which alone would be a quarter of what `ncl` takes in a sandbox.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

NCL_SOCKET_VARIABLE = "NANOCLAW_NCL_SOCKET"  # where `ncl` asks in a sandbox


@contextlib.contextmanager
def short_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a name for a socket path that fits the 108 bytes of a socket address.

    A long path is reached through a descriptor of its directory (Linux); where that is not to be had the path itself
    is given, and the system says that it is too long.
    """
    whole = os.fspath(path)
    if len(os.fsencode(whole)) < 100 or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112  # no pathlib here
        yield whole
        return
    parent, name = os.path.split(whole)
    directory = os.open(parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{name}"
    finally:
        os.close(directory)
