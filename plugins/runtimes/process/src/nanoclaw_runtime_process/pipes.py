"""Pipes and memory files that a child inherits. An ExitStack closes them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import BinaryIO, NamedTuple


class Pipe(NamedTuple):
    """The two ends of a pipe."""

    reading: BinaryIO
    writing: BinaryIO


def pipe(files: ExitStack) -> Pipe:
    """Create a pipe."""
    reader, writer = os.pipe()
    return Pipe(
        files.enter_context(os.fdopen(reader, "rb", buffering=0)),
        files.enter_context(os.fdopen(writer, "wb", buffering=0)),
    )


def memory_file(files: ExitStack, content: str | bytes) -> BinaryIO:
    """Create a file in memory, positioned at its beginning."""
    file = files.enter_context(os.fdopen(os.memfd_create("nanoclaw"), "w+b", buffering=0))
    file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file
