"""The contract between host and runner, and small helpers that several distributions share.

Import the modules by name (`from nanoclaw_wire import clock, inbound`). The package itself imports nothing, so a thin
client that needs only `frames` does not load SQLite.
"""

PROTOCOL = 1
"""The `PRAGMA user_version` of both session files. A runner that reads another number reports it and exits."""
