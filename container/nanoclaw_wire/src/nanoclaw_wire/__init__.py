"""What host and runner must agree on, and nothing else.

Import the modules by name (`from nanoclaw_wire import clock, inbound`): this package itself loads nothing, so that a
thin client that needs only `frames` does not pay for SQLite.
"""

PROTOCOL = 1
"""The number both session files carry in `PRAGMA user_version`. A runner that finds another one says so and exits."""
