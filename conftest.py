"""What the tests of several distributions share."""

import pytest
from hypothesis import settings

pytest_plugins = ["engine_fixtures"]  # in tests/engine, which pyproject.toml puts on the path of tests

# The same examples on every run, kept nowhere, and no deadline: a busy machine is no failure.
settings.register_profile("nanoclaw", derandomize=True, database=None, deadline=None)
settings.load_profile("nanoclaw")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked `long`, too; they take many minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes many minutes; runs with --long alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless they are asked for."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end which tests did not run for want of something that this machine does not have."""
    skipped = terminalreporter.stats.get("skipped", [])
    for marker, what in (("docker", "a Docker engine"), ("bubblewrap", "bubblewrap")):
        names = sorted({report.nodeid for report in skipped if marker in report.keywords})
        if names:
            terminalreporter.section(f"{len(names)} tests need {what} and did not run")
            for name in names:
                terminalreporter.line(name)
