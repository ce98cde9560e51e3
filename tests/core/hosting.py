"""Running a host in a test: the kit's, under the name that tests here know."""

from nanoclaw_core.testing.hosting import Running, running_host, until

__all__ = ["Running", "running_host", "until"]
