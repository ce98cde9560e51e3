"""The context that a plugin's running half gets from the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from nanoclaw_core.errors import NanoclawError

if TYPE_CHECKING:
    import apsw

    from nanoclaw_core.descriptors.operations import Operations


def nothing_runs() -> Operations:
    """Replace the operations of a host if none runs.

    Raises:
        NanoclawError: Always.
    """
    raise NanoclawError("no host is running. Start one with `ncl serve` and repeat the command.")


@frozen(kw_only=True)
class PluginContext:
    """A plugin's place in one running host.

    Args:
        plugin: The plugin's name.
        instance_id: Identifies the instance directory on this machine, 12 hex digits; for labels.
        home: The instance directory.
        data_dir: The plugin's own directory below it. Create it with `mkdir` before the first use.
        run_dir: The directory for sockets; it is emptied while no host runs.
        environment: The host's environment. Read it instead of `os.environ`.
        database: The central database. A plugin only writes tables with its own prefix, which its migrations create.
        owners: User ids with all rights.
        settings: The plugin's own settings in the shape that its descriptor declares; None if it declares none. Verbs,
            actions and sweeps read them here, because they get no settings of their own.
        running: Returns the operations of the host, if it runs.
    """

    plugin: str
    instance_id: str
    home: Path
    data_dir: Path
    run_dir: Path
    environment: Mapping[str, str] = field(repr=False)
    database: apsw.Connection = field(repr=False)
    owners: frozenset[str] = frozenset()
    settings: Any = field(default=None, repr=False)
    running: Callable[[], Operations] = field(default=nothing_runs, repr=False)

    @property
    def operations(self) -> Operations:
        """The operations of the running host.

        Raises:
            NanoclawError: The host does not run.
        """
        return self.running()
