"""What the tests of several distributions share."""

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("nanoclaw_core.testing.runtime_contract", "nanoclaw_core.testing.runtime_scenario")

pytest_plugins = ["engine_fixtures"]  # in tests/engine, which pyproject.toml puts on the path of tests

# The same examples on every run, kept nowhere, and no deadline: a busy machine is no failure.
settings.register_profile("nanoclaw", derandomize=True, database=None, deadline=None)
settings.load_profile("nanoclaw")
