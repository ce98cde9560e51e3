"""Schema changes of the core and of plugins. A plugin's step may only touch objects with the plugin's prefix."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
from nanoclaw_untrusted.migrations import LEDGER, migrate

from nanoclaw_core.descriptors.administration import Migration
from nanoclaw_core.descriptors.names import CORE


def migrate_core(db: apsw.Connection, steps: Sequence[Migration]) -> list[str]:
    """Apply the core's missing steps; return their names.

    Raises:
        MigrationError: A step failed; it left nothing behind.
    """
    db.execute(LEDGER)
    return migrate(db, CORE, steps, is_restricted=False)


def migrate_plugin(db: apsw.Connection, plugin: str, steps: Sequence[Migration]) -> list[str]:
    """Apply a plugin's missing steps, restricted to its own tables; return their names.

    Raises:
        MigrationError: A step failed or touched a foreign object; it left nothing behind, and earlier steps stay
            applied.
    """
    return migrate(db, plugin, steps, is_restricted=True)
