"""The paths of a session's files, separated by trust (I6).

The host alone writes `in/`, which is mounted read-only. The sandbox writes `out/`, and the host trusts nothing in it.
The relative names are the same on the host (`sessions/<id>/in`) and in the sandbox (`/workspace/in`).
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

INBOUND_DB = "inbound.db"
OUTBOUND_DB = "outbound.db"
CONFIG = "config.json"
INBOX = "inbox"
OUTBOX = "outbox"
HEARTBEAT = "heartbeat"
STATE = "state"
RUNNER_LOG = "runner.log"
BELL = "bell.sock"
GATEWAY = "gateway.sock"

IN_DIR_VARIABLE = "NANOCLAW_IN_DIR"
OUT_DIR_VARIABLE = "NANOCLAW_OUT_DIR"
AGENT_DIR_VARIABLE = "NANOCLAW_AGENT_DIR"
EXTRA_DIR_VARIABLE = "NANOCLAW_EXTRA_DIR"
# A descriptor that reaches its end of file when the host dies. The runner stops then.
PARENT_WATCHDOG_VARIABLE = "NANOCLAW_PARENT_WATCHDOG"

SANDBOX_IN = "/workspace/in"
SANDBOX_OUT = "/workspace/out"
SANDBOX_AGENT = "/workspace/agent"
SANDBOX_EXTRA = "/workspace/extra"


@frozen
class Layout:
    """The paths of one session, on the host or in the sandbox.

    Args:
        incoming: The directory that the host writes: inbound.db, config.json, inbox/, bell.sock, gateway.sock.
        outgoing: The directory that the runner writes: outbound.db, outbox/, heartbeat, state/, runner.log.
    """

    incoming: Path
    outgoing: Path

    @classmethod
    def below(cls, directory: Path) -> Layout:
        """Return the paths of a session directory of the host."""
        return cls(incoming=directory / "in", outgoing=directory / "out")

    @property
    def inbound_db(self) -> Path:
        return self.incoming / INBOUND_DB

    @property
    def config(self) -> Path:
        return self.incoming / CONFIG

    @property
    def inbox(self) -> Path:
        return self.incoming / INBOX

    @property
    def bell(self) -> Path:
        return self.incoming / BELL

    @property
    def gateway(self) -> Path:
        return self.incoming / GATEWAY

    @property
    def outbound_db(self) -> Path:
        return self.outgoing / OUTBOUND_DB

    @property
    def outbox(self) -> Path:
        return self.outgoing / OUTBOX

    @property
    def heartbeat(self) -> Path:
        return self.outgoing / HEARTBEAT

    @property
    def state(self) -> Path:
        return self.outgoing / STATE

    @property
    def runner_log(self) -> Path:
        return self.outgoing / RUNNER_LOG


def is_safe_name(name: object) -> bool:
    """Return True if a name from the other side may become one path component.

    Such a name is a printable, non-empty string of at most 255 bytes, without separators, and neither `.` nor `..`.
    """
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(character in name for character in "/\\\0")
        and len(name.encode("utf-8", "surrogatepass")) <= 255
        and name.isprintable()
    )
