import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=None, help="how often hosts and runners are killed, in all")
    parser.addoption("--engine-kills", type=int, default=15, help="how often, with real containers and their engine")
    parser.addoption("--seed", type=int, default=None, help="repeat the series of kills with this seed")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of everything random in a series of kills; it is printed, so that `--seed` can repeat the series."""
    given: int | None = request.config.getoption("--seed", default=None)
    chosen = given or random.SystemRandom().randrange(2**32)
    print(f"seed {chosen}")
    return chosen


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """Paths of sockets have to fit into 108 bytes, and pytest's own directories are long."""
    with tempfile.TemporaryDirectory(prefix="nc-") as path:
        yield Path(path)
