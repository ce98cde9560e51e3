"""What a plugin's running half gets from the core."""

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
    """Stand in for the operations of a host where none runs.

    Raises:
        NanoclawError: Always.
    """
    raise NanoclawError("no host runs here; this can be asked of a running one")


@frozen(kw_only=True)
class PluginContext:
    """A plugin's place in one running host.

    Args:
        plugin: The plugin's name.
        instance_id: Identifies the instance directory on this machine, 12 hex digits; for labels.
        home: The instance directory.
        data_dir: The plugin's own directory below it; made when first asked for with `mkdir`.
        run_dir: For sockets; emptied when no host runs.
        environment: The host's environment, to be read instead of `os.environ`.
        database: The central database. A plugin writes only tables with its own prefix, made by its migrations.
        owners: User ids with all rights.
        settings: The plugin's own settings, in the shape its descriptor declares; None where it declares none. For what
            gets a context and no settings: verbs, actions, sweeps.
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
        """What the host can be asked to do.

        Raises:
            NanoclawError: It does not run yet, or no more.
        """
        return self.running()
