"""What happens when a session's files cannot be used: look whether they are damaged, and if so start afresh.

One damaged session stops itself and nobody else; the operator finds one line in the log, and people are told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import apsw
from attrs import define, field

from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.integrity import find_damage
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.quarantine import SessionQuarantine
from nanoclaw_core.store import sessions
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
SAID_AGAIN_S = 60.0  # a sandbox that keeps its file unreadable must not fill the log


@define(kw_only=True, eq=False)
class SessionRecovery:
    """Sets damaged sessions aside, each once.

    Args:
        retire: Ends everything that works on a session; returns when nothing does.
        resume: Goes on with a fresh session, where something waits in it.
    """

    db: apsw.Connection
    mailbox: Mailbox
    quarantine: SessionQuarantine
    retire: Callable[[SessionId, str], Awaitable[None]]
    resume: Callable[[SessionId], None]
    _under_way: dict[SessionId, asyncio.Task[None]] = field(factory=dict, init=False)
    _looks: dict[SessionId, asyncio.Task[bool]] = field(factory=dict, init=False)
    _said_at: dict[SessionId, float] = field(factory=dict, init=False)
    _is_closing: bool = field(default=False, init=False)

    def suspect(self, session_id: SessionId, reason: str) -> None:
        """Note that a session's files could not be read, and look why; returns at once."""
        now = asyncio.get_running_loop().time()
        if (
            self._is_closing
            or session_id in self._under_way
            or now - self._said_at.get(session_id, -SAID_AGAIN_S) < SAID_AGAIN_S
        ):
            return
        self._said_at[session_id] = now
        log.warning("session files cannot be read", extra={"session": session_id, "reason": reason})
        if session_id not in self._looks:
            look = self._looks[session_id] = asyncio.create_task(self.look(session_id))
            look.add_done_callback(lambda _done: self._looks.pop(session_id, None))

    async def look(self, session_id: SessionId, beyond_hope: str = "") -> bool:
        """Look whether a session is damaged; if so its setting aside begins.

        Args:
            beyond_hope: Why it is to be set aside even where its files look whole; empty where it is not.
        """
        session = None if self._is_closing else sessions.get(self.db, session_id)
        if session is None or session.status != "active":
            return False
        if session_id in self._under_way:
            return True
        layout = self.mailbox.directories.layout(session_id)
        reason = await asyncio.to_thread(find_damage, layout, session) or beyond_hope
        if reason and session_id not in self._under_way:
            task = self._under_way[session_id] = asyncio.create_task(self._set_aside(session, reason))
            task.add_done_callback(partial(self._done, session_id))
        return bool(reason)

    async def look_through(self, session_ids: Iterable[SessionId]) -> None:
        """Look at the sessions that a stopped host left with work, one after the other.

        A crash of the machine is when files get damaged, and some damage hides a waiting message without an error.
        """
        for session_id in session_ids:
            try:
                await self.look(session_id)
            except (apsw.Error, NanoclawError, OSError) as error:
                log.warning("session not looked at", extra={"session": session_id, "error": str(error)})

    async def mend(self, session_id: SessionId) -> bool:
        """Look, and wait until a damaged session was set aside; False where it stays the one in use."""
        if await self.look(session_id):
            task = self._under_way.get(session_id)
            if task is not None:
                await asyncio.wait([task])
            return True
        session = sessions.get(self.db, session_id)
        return session is not None and session.status != "active"  # it was set aside while a message was on its way

    async def close(self) -> None:
        """Give up what is under way; the next host finds the same damage."""
        self._is_closing = True
        tasks = [*self._under_way.values(), *self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set_aside(self, session: Session, reason: str) -> None:
        try:
            await self.retire(session.id, "its files are damaged")
            fresh = await self.quarantine.set_aside(session, reason)
        except Exception:  # the run fence: one session's trouble, and a full disk is part of it
            log.exception("damaged session could not be set aside", extra={"session": session.id, "reason": reason})
            return
        self.resume(fresh.id)

    def _done(self, session_id: SessionId, _task: asyncio.Task[None]) -> None:
        self._under_way.pop(session_id, None)
        self._said_at.pop(session_id, None)
