"""[plugins.process] in nanoclaw.toml."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Settings:
    """What an operator may choose.

    Args:
        allow_unsandboxed: True lets providers that run tools work without bubblewrap, with all rights of the host's
            user. Nothing then stands between the model and this machine.
        bubblewrap: The program; a bare name is looked for on PATH.
        run_as: The number of an unprivileged user of the host that owns nothing. Sandboxes run as this user if the host
            is root. By default a free number from 200000 on, which is kept.
        temporary_bytes: How large the sandbox's /tmp and home may grow, each; they live in memory.
    """

    allow_unsandboxed: bool = False
    bubblewrap: str = "bwrap"
    run_as: int | None = None
    temporary_bytes: int = 1024**3
