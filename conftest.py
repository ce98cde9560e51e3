"""What the tests of several distributions share."""

pytest_plugins = ["engine_fixtures"]  # in tests/engine, which pyproject.toml puts on the path of tests
