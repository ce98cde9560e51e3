"""The settings of the gateway."""

from __future__ import annotations

from attrs import field, frozen

from nanoclaw_core import between


@frozen(kw_only=True)
class Settings:
    """[plugins.gateway] in nanoclaw.toml.

    Args:
        connect_timeout_s: Time to connect to an upstream, including DNS and TLS.
        idle_timeout_s: Time without a byte in either direction. A model may think for minutes.
        max_request_mib: Maximum size of a request body.
        max_calls: Maximum number of concurrent calls per session. Others get a retry error.
        max_records: Maximum number of call records per session and day. Later calls are served, but only counted.
        keep_days: Retention of call records.
    """

    connect_timeout_s: float = field(default=10.0, validator=between(0.1, 600))
    idle_timeout_s: float = field(default=300.0, validator=between(0.1, 86_400))
    max_request_mib: float = field(default=64.0, validator=between(0.001, 1_024))
    max_calls: int = field(default=16, validator=between(1, 1_000))
    max_records: int = field(default=20_000, validator=between(0, 1_000_000))
    keep_days: float = field(default=30.0, validator=between(0, 36_500))

    @property
    def max_request_bytes(self) -> int:
        """The maximum size of a request body, in bytes."""
        return int(self.max_request_mib * 1024**2)
