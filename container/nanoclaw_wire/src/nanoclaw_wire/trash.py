"""A trash directory: trees are moved into it in one step, and removed in a thread.

A tree in the trash is gone for everything else. The removal of a large tree takes minutes and never blocks the event
loop. A process that is killed meanwhile leaves the rest in the trash, and the next one removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path

from nanoclaw_wire.atomic_files import sync_directory
from nanoclaw_wire.untrusted_trees import Stopped, empty_directory

log = logging.getLogger(__name__)


class Trash:
    """One trash directory. It must be on the file system of the trees, and closed to their writers.

    Args:
        directory: Created when it is first used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._removal: asyncio.Task[bool] | None = None
        self._is_requested = False
        self._reported = ""
        self._stop = threading.Event()

    def put(self, path: str | Path, *, inside: int | None = None, sync: bool = False) -> None:
        """Move a file or a tree into the trash. A link is moved, not followed.

        Args:
            path: The tree.
            inside: The descriptor of the directory that a relative path begins in. None: the current directory.
            sync: True if the tree must stay in the trash after a crash of the machine.

        Raises:
            OSError: The tree is missing, or on another file system. It is unchanged.
        """
        with contextlib.suppress(FileExistsError):
            self._directory.mkdir(mode=0o700)
        os.rename(path, self._directory / os.urandom(16).hex(), src_dir_fd=inside)
        if sync:
            sync_directory(self._directory)
            sync_directory(Path(path).parent)

    def empty(self) -> asyncio.Task[bool]:
        """Start to remove everything in the trash. The task returns True if nothing is left."""
        self._is_requested = True
        if self._removal is None or self._removal.done():
            self._removal = asyncio.create_task(self._empty())
        return self._removal

    async def close(self) -> None:
        """End a removal before its next file; the next process continues."""
        self._stop.set()
        if self._removal is not None:
            await asyncio.wait([self._removal])

    async def _empty(self) -> bool:
        problem: OSError | None = None
        while self._is_requested:
            self._is_requested = False
            problem = await asyncio.to_thread(self._empty_directory)
        if problem is not None and str(problem) != self._reported:
            self._reported = str(problem)
            extra = {"directory": str(self._directory), "error": str(problem)}
            log.warning("files cannot be removed", extra=extra)
        return problem is None and not self._stop.is_set()

    def _empty_directory(self) -> OSError | None:
        try:
            return empty_directory(self._directory, self._stop.is_set)
        except (FileNotFoundError, Stopped):
            return None
        except OSError as error:
            return error
