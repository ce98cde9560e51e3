"""[plugins.gateway] in nanoclaw.toml."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Settings:
    """[plugins.gateway] in nanoclaw.toml.

    Args:
        connect_timeout_s: To reach an upstream, name look-up and TLS included.
        idle_timeout_s: Without a byte in either direction; a model may think for minutes.
        max_request_mib: Of one request's body.
        max_calls: Of one session at once; more are told to come again.
        keep_days: How long the record of calls is kept.
    """

    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    max_request_mib: float = 64.0
    max_calls: int = 16
    keep_days: float = 30.0

    @property
    def max_request_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.max_request_mib * 1024**2)
