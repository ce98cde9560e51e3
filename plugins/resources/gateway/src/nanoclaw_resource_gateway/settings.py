"""The settings of the gateway."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Settings:
    """[plugins.gateway] in nanoclaw.toml.

    Args:
        connect_timeout_s: Time to connect to an upstream, including DNS and TLS.
        idle_timeout_s: Time without a byte in either direction. A model may think for minutes.
        max_request_mib: Maximum size of a request body.
        max_calls: Maximum number of concurrent calls per session. Others get a retry error.
        keep_days: Retention of call records.
    """

    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    max_request_mib: float = 64.0
    max_calls: int = 16
    keep_days: float = 30.0

    @property
    def max_request_bytes(self) -> int:
        """The maximum size of a request body, in bytes."""
        return int(self.max_request_mib * 1024**2)
