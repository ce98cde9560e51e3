import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=None, help="how often hosts and runners are killed, in all")
    parser.addoption("--engine-kills", type=int, default=15, help="how often, with real containers and their engine")
    parser.addoption("--seed", type=int, default=None, help="repeat the series of kills with this seed")


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """Paths of sockets have to fit into 108 bytes, and pytest's own directories are long."""
    with tempfile.TemporaryDirectory(prefix="nc-") as path:
        yield Path(path)
