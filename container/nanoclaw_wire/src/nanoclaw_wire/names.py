"""Names that several distributions must share."""

from __future__ import annotations

HOST_LOCK = "host.lock"
"""The file in `run/` that a host locks as long as it runs (I11)."""

CONTROL_SOCKET = "ncl.sock"
"""The socket in `run/` that `ncl` connects to."""

RUNNER_GROUP = "nanoclaw.runner"
"""The entry point group of the runner halves of plugins."""
