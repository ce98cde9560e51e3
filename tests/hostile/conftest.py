import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from nanoclaw_core import Budgets
from nanoclaw_core.testing.instance import Instance, make_instance


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--flood-rows", type=int, default=12_000, help="number of rows that a hostile session writes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace half characters in captured logs, because a worker of pytest-xdist cannot send them."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report


@pytest.fixture
def flood_rows(request: pytest.FixtureRequest) -> int:
    rows: int = request.config.getoption("--flood-rows")
    return rows


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home", start_pauses_s=[0.01])
    yield made
    made.db.close()


@pytest.fixture
def limited(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """Return an instance with the budgets of the mark `hostile_sandbox.budgets`."""
    made = make_instance(tmp_path / "limited", budgets=Budgets(**request.param))
    yield made
    made.db.close()


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    """End the tests by an alarm if a hostile file blocks the host.

    Nothing else could end it then.
    """
    signal.alarm(120)
    yield
    signal.alarm(0)
