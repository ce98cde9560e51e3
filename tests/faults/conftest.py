import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoclaw_core.testing.instance import Instance, make_instance


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=None, help="total number of kills of hosts and runners")
    parser.addoption(
        "--engine-kills", type=int, default=15, help="total number of kills with real containers and their engine"
    )
    parser.addoption("--seed", type=int, default=None, help="seed of the series of kills, to repeat one")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of a series of kills, and print it so that `--seed` can repeat the series."""
    given: int | None = request.config.getoption("--seed", default=None)
    chosen = given or random.SystemRandom().randrange(2**32)
    print(f"seed {chosen}")
    return chosen


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """Yield a directory with a short path: a socket's path has at most 108 bytes, and pytest's own paths are long."""
    with tempfile.TemporaryDirectory(prefix="nc-") as path:
        yield Path(path)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home", start_pauses_s=[0.01])
    made.wire()
    made.wire(room="other")
    yield made
    made.db.close()
