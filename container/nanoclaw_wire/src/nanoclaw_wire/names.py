"""Names that several distributions must share."""

from __future__ import annotations

SETTINGS_FILE = "nanoclaw.toml"
"""The settings in an instance directory."""

CENTRAL_DATABASE = "nanoclaw.db"
"""The database in `data/`."""

HOST_LOG = "nanoclaw.log"
"""The log of the host in `logs/`."""

SESSIONS = "sessions"
"""The directory of all session directories in an instance directory."""

HOST_LOCK = "host.lock"
"""The file in `run/` that a host locks as long as it runs (I11)."""

CONTROL_SOCKET = "ncl.sock"
"""The socket in `run/` that `ncl` connects to."""

RUNNER_GROUP = "nanoclaw.runner"
"""The entry point group of the runner halves of plugins."""
