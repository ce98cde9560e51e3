"""The settings of the gateway."""

from __future__ import annotations

from attrs import field, frozen

from nanoclaw_core import above, at_least


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

    connect_timeout_s: float = field(default=10.0, validator=above(0))
    idle_timeout_s: float = field(default=300.0, validator=above(0))
    max_request_mib: float = field(default=64.0, validator=above(0))
    max_calls: int = field(default=16, validator=at_least(1))
    keep_days: float = field(default=30.0, validator=at_least(0))

    @property
    def max_request_bytes(self) -> int:
        """The maximum size of a request body, in bytes."""
        return int(self.max_request_mib * 1024**2)
