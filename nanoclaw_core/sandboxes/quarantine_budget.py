"""The budget of quarantined sessions: the oldest ones beyond its age or size are removed (I14)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path

import apsw
from attrs import field, frozen
from nanoclaw_untrusted.tree_budget import KeptTree, TreeBudget
from nanoclaw_wire import clock
from nanoclaw_wire.layout import Layout

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import QUARANTINE_SUFFIX, QUARANTINE_TIME, SessionDirectories
from nanoclaw_core.store import sessions

log = logging.getLogger(__name__)
_REASONS = {"age": "older than `quarantine_days`", "size": "beyond `quarantine_bytes`"}


@frozen(kw_only=True)
class QuarantineBudget:
    """Removes quarantined sessions."""

    db: apsw.Connection
    directories: SessionDirectories
    budgets: Budgets
    _trees: TreeBudget = field(init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @_trees.default
    def _make_trees(self) -> TreeBudget:
        root, trash = self.directories.root, self.directories.trash
        return TreeBudget(root=root, trash=trash, max_bytes=self.budgets.quarantine_bytes, reduce=self._reduce)

    async def enforce(self) -> None:
        """Remove the sessions that are too old, then those that do not fit.

        The last one of each conversation counts before all others. If it does not fit, its databases and its log are
        kept if they fit.

        Raises:
            apsw.Error, OSError: Some sessions are still there; the next call removes them.
        """
        async with self._lock:
            trees = []
            for name in await asyncio.to_thread(self.directories.quarantined):
                session_id, _, at = name.partition(QUARANTINE_SUFFIX)
                session = sessions.get(self.db, SessionId(session_id))
                owner = (session.agent_group_id, session.conversation) if session else name
                trees.append(KeptTree(name=name, at=at, owner=owner))
                await asyncio.sleep(0)  # let other sessions run
            oldest = f"{clock.now() - timedelta(days=self.budgets.quarantine_days):{QUARANTINE_TIME}}"
            await self._trees.enforce(trees, oldest, _log_removal)
            self.directories.trash.empty()

    def _reduce(self, directory: Path) -> None:
        """Move the databases and the log up into the session's directory, and the rest into the trash."""
        layout = Layout.below(directory)
        for path in (layout.inbound_db, layout.outbound_db, layout.runner_log):
            for kept in (path, path.with_name(f"{path.name}-journal")):
                with contextlib.suppress(OSError):  # it is missing
                    kept.rename(directory / kept.name)
        for path in (layout.incoming, layout.outgoing):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.directories.trash.put(path)


def _log_removal(tree: KeptTree, reason: str) -> None:
    session_id, why = tree.name.partition(QUARANTINE_SUFFIX)[0], _REASONS[reason]
    log.warning("quarantined session removed", extra={"session": session_id, "files": tree.name, "reason": why})
