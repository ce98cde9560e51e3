"""The runner's log: one JSON object per line, with the correlation id of its turn.

It goes to stderr and to `out/runner.log`. The host shows the end of stderr if a sandbox dies. The file outlives the
sandbox, so the reference in an error message leads to its cause (I12).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from nanoclaw_wire.log_file import LogFile
from nanoclaw_wire.log_lines import JsonFormatter

FILE_BYTES = 1_000_000  # with one older file: months of a quiet conversation, days of a busy one


def configure(correlation: Callable[[], str | None], file: Path, level: str = "INFO") -> None:
    """Send all log records of this process to stderr and a file. Only the program calls this, never a library.

    If the file cannot be written, stderr reports it once and still gets the lines.

    Args:
        correlation: Returns the correlation id of the running turn, or None.
        file: The log's path.
        level: The lowest level to log.
    """

    def context() -> dict[str, str]:
        running = correlation()
        return {} if running is None else {"correlation": running}

    log_file = LogFile(file, max_bytes=FILE_BYTES, backups=1, delay=True)
    root = logging.getLogger()
    root.handlers = [logging.StreamHandler(sys.stderr), log_file]
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter(context))
    root.setLevel(level)
