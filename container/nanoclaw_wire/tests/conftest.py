from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import session_files


@pytest.fixture
def inbound_db(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = tmp_path / "inbound.db"
    session_files.create_inbound(path)
    db = session_files.open_writable(path)
    yield db
    db.close()


@pytest.fixture
def outbound_db(tmp_path: Path) -> Iterator[apsw.Connection]:
    session_files.create_outbound(tmp_path / "outbound.db")
    db = session_files.open_writable(tmp_path / "outbound.db")
    yield db
    db.close()
