"""One session: the host's outbox reader and the files of the sandbox."""

import os
from pathlib import Path

import pytest
from attrs import frozen
from nanoclaw_untrusted.files import InvalidFile
from nanoclaw_wire.layout import Layout

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import OutboxReader

SESSION = SessionId("ses-1")
LIMIT = 1000


@frozen
class Side:
    """One session: the reader of the host and the files that the sandbox may change."""

    outbox: OutboxReader
    layout: Layout
    home: Path

    def put(self, name: str, content: bytes = b"hello", message_id: str = "out-1") -> Path:
        path = self.layout.outbox / message_id / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def read(self, *names: object, message_id: str = "out-1") -> list[tuple[str, bytes]]:
        return [(file.name, file.content) for file in self.outbox.files(SESSION, message_id, names)]

    def refused(self, *names: object, message_id: str = "out-1") -> str:
        with pytest.raises(InvalidFile) as caught:
            self.read(*names, message_id=message_id)
        return str(caught.value)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
