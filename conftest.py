"""What the tests of several distributions share."""

import pytest
from hypothesis import settings

pytest_plugins = ["engine_fixtures"]  # in tests/engine, which pyproject.toml puts on the path of tests

# The same examples on every run, kept nowhere, and no deadline: a busy machine is no failure.
settings.register_profile("nanoclaw", derandomize=True, database=None, deadline=None)
settings.load_profile("nanoclaw")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end which tests did not run for want of something that this machine does not have."""
    skipped = terminalreporter.stats.get("skipped", [])
    for marker, what in (("docker", "a Docker engine"), ("bubblewrap", "bubblewrap")):
        names = sorted({report.nodeid for report in skipped if marker in report.keywords})
        if names:
            terminalreporter.section(f"{len(names)} tests need {what} and did not run")
            for name in names:
                terminalreporter.line(name)
