"""[plugins.process] in nanoclaw.toml."""

from __future__ import annotations

from attrs import field, frozen

from nanoclaw_core import between


@frozen(kw_only=True)
class Settings:
    """The operator's settings of the process runtime.

    Args:
        allow_unsandboxed: True lets providers that run tools work without bubblewrap, with all rights of the host's
            user. Nothing protects this machine from the model then.
        bubblewrap: The program; a bare name is searched on PATH.
        run_as: The number of an unprivileged user of the host that owns nothing. Sandboxes run as this user if the host
            runs as root. By default a free number from 200000 on, which is stored.
        temporary_bytes: The size limit of the sandbox's /tmp and of its home, each. Both are in memory.
    """

    allow_unsandboxed: bool = False
    bubblewrap: str = "bwrap"
    run_as: int | None = None
    temporary_bytes: int = field(default=1024**3, validator=between(1_048_576, 1_099_511_627_776))
