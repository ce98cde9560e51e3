"""The budget of quarantined sessions: the oldest ones beyond its age or size are removed (I14)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import timedelta

import apsw
from attrs import field, frozen
from nanoclaw_wire import clock
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.untrusted_trees import tree_size

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import QUARANTINE_SUFFIX, QUARANTINE_TIME, SessionDirectories
from nanoclaw_core.store import sessions

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class QuarantineBudget:
    """Removes quarantined sessions. Each is measured once, in a thread, because nothing writes it any more."""

    db: apsw.Connection
    directories: SessionDirectories
    budgets: Budgets
    _sizes: dict[str, int] = field(factory=dict, init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def enforce(self) -> None:
        """Remove the sessions that are too old, then those that do not fit.

        The last one of each conversation counts before all others, so that a conversation whose files are damaged again
        and again removes only its own. If it does not fit, its databases and its log are kept if they fit.

        Raises:
            apsw.Error, OSError: Some sessions are still there; the next call removes them.
        """
        async with self._lock:
            names = await asyncio.to_thread(self.directories.quarantined)
            size, limit = 0, self.budgets.quarantine_bytes
            oldest = f"{clock.now() - timedelta(days=self.budgets.quarantine_days):{QUARANTINE_TIME}}"
            for is_last, name in await self._in_order(names):
                if _time_of(name) < oldest:
                    self._remove(name, "older than `quarantine_days`")
                    continue
                if is_last and size + await self._measure(name) > limit:
                    await asyncio.to_thread(self._reduce, name)
                if size + await self._measure(name) > limit:
                    self._remove(name, "beyond `quarantine_bytes`")
                else:
                    size += await self._measure(name)
            self.directories.trash.empty()

    async def _in_order(self, names: list[str]) -> list[tuple[bool, str]]:
        """Return each name, and whether it is the last of its conversation: first these, each part newest first."""
        count: Counter[object] = Counter()
        order = []
        for name in sorted(names, key=_time_of, reverse=True):
            session = sessions.get(self.db, SessionId(name.partition(QUARANTINE_SUFFIX)[0]))
            conversation = (session.agent_group_id, session.conversation) if session else name
            order.append((not count[conversation], name))
            count[conversation] += 1
            await asyncio.sleep(0)  # let other sessions run
        return sorted(order, key=lambda item: not item[0])

    async def _measure(self, name: str) -> int:
        if name not in self._sizes:
            limit = self.budgets.quarantine_bytes + 1
            self._sizes[name] = await asyncio.to_thread(tree_size, self.directories.root / name, limit)
        return self._sizes[name]

    def _reduce(self, name: str) -> None:
        """Move the databases and the log up into the session's directory, and the rest into the trash."""
        directory = self.directories.root / name
        layout = Layout.below(directory)
        for path in (layout.inbound_db, layout.outbound_db, layout.runner_log):
            for kept in (path, path.with_name(f"{path.name}-journal")):
                with contextlib.suppress(OSError):  # it is missing
                    kept.rename(directory / kept.name)
        for path in (layout.incoming, layout.outgoing):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.directories.trash.put(path)
        self._sizes.pop(name, None)

    def _remove(self, name: str, reason: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # the operator was faster
            self.directories.trash.put(self.directories.root / name)
        self._sizes.pop(name, None)
        session_id = name.partition(QUARANTINE_SUFFIX)[0]
        log.warning("quarantined session removed", extra={"session": session_id, "files": name, "reason": reason})


def _time_of(name: str) -> str:
    return name.rpartition(QUARANTINE_SUFFIX)[2]
