"""pytest set-up that the tests of all distributions share."""

import os

import pytest
from hypothesis import settings

pytest_plugins = ["engine_fixtures"]  # in tests/engine, which pyproject.toml adds to the path of the tests

# The same examples in every run and no database of examples. No deadline, because a busy machine is no failure.
settings.register_profile("nanoclaw", derandomize=True, database=None, deadline=None)
settings.load_profile("nanoclaw")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`, which take many minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes many minutes; runs only with --long")
    os.umask(0o022)  # with the common 002, the host would refuse the instances that tests write by hand


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this hook, too
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless --long is given. Keep the tests of the engine in one process."""
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group("engine"))
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop if pytest-xdist ignores the groups: each process would build what their tests share."""
    if not session.config.getoption("loadgroup", default=False):
        return  # one process, or several that do not use the groups
    lost = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
    if lost:
        # The process that runs pytest prints `shouldstop`, but no error of its workers.
        session.shouldstop = f"pytest-xdist ignores the group of {lost[0]}. Install the pytest of pyproject.toml."
        raise pytest.UsageError(session.shouldstop)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List at the very end the tests that were skipped because this machine lacks a Docker engine or bubblewrap."""
    skipped = terminalreporter.stats.get("skipped", [])
    for marker, requirement in (("docker", "a Docker engine"), ("bubblewrap", "bubblewrap")):
        names = sorted({report.nodeid for report in skipped if marker in report.keywords})
        if names:
            terminalreporter.section(f"{len(names)} tests need {requirement} and did not run")
            for name in names:
                terminalreporter.line(name)
