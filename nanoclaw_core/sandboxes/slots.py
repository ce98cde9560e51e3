"""Slots limit the number of running sandboxes.

An idle sandbox gives its slot to a waiting conversation, so only those that work count for a share. A working one does
so only if other people joined an owner in the slot of the owners, which an owner needs elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from attrs import define, evolve, field

from nanoclaw_core.ids import SessionId, UserId
from nanoclaw_core.sandboxes.claims import Claim, WaitReason, reason_to_wait
from nanoclaw_core.sandboxes.running import Running


@define
class Wait:
    """A conversation that waits for a slot, and why."""

    claim: Claim
    reason: WaitReason = WaitReason.ALL
    granted: asyncio.Future[None] = field(factory=lambda: asyncio.get_running_loop().create_future())


class Slots:
    """A limited number of slots, granted in the order of the requests to those within their shares.

    Args:
        count: The number of slots.
        running: The running sandboxes. One that is starting or ending holds a slot, too.
        wanted: Called with the number of waiting conversations that could work in the slots of other sandboxes.

    Attributes:
        held: The claims of the conversations that hold a slot.
        waiting: The conversations that wait, oldest first.
    """

    def __init__(self, count: int, running: Mapping[SessionId, Running], wanted: Callable[[int], None]) -> None:
        self._count, self._running, self._wanted = count, running, wanted
        self.held: dict[SessionId, Claim] = {}
        self.waiting: dict[SessionId, Wait] = {}

    @contextlib.asynccontextmanager
    async def hold(
        self, session_id: SessionId, claim: Claim, while_waiting: Callable[[Wait], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Hold a slot during a `with` block.

        `while_waiting` runs while the conversation waits, and is cancelled then.
        """
        wait = self.waiting[session_id] = Wait(claim)
        try:
            self.serve()
            if not wait.granted.done():
                announcement = asyncio.create_task(while_waiting(wait))
                try:
                    await wait.granted
                finally:
                    announcement.cancel()
            yield
        finally:
            self.waiting.pop(session_id, None)
            self.held.pop(session_id, None)
            self.serve()

    def serve(self) -> None:
        """Grant the free slots, and ask for more if sandboxes that may be stopped hold the rest."""
        if not self.waiting:
            return
        free, taken = self._count - len(self.held), self._taken()
        for session_id, wait in list(self.waiting.items()):
            reason = reason_to_wait(wait.claim, taken, self._count)
            wait.reason = reason or WaitReason.ALL
            if reason is None and not wait.granted.done():
                taken.update(wait.claim.keys)
                if free > 0:
                    self.held[session_id] = self.waiting.pop(session_id).claim
                    wait.granted.set_result(None)
                free -= 1
        if free < 0:
            self._wanted(-free)

    def assign(self, session_id: SessionId, person: UserId | None, *, is_owner: bool) -> bool:
        """Assign a conversation to the person who wrote last; None is a task or a note.

        A working one keeps its claim until it is idle, so that no person exceeds a share. Only that of an owner counts
        for others once they wrote, too. A waiting one keeps its claim unless the new one helps it, so that others
        cannot delay it.

        Returns:
            False if an idle sandbox must not go on, because it would exceed a share.
        """
        old, wait = self.held.get(session_id), self.waiting.get(session_id)
        if old is not None and not self._is_working(session_id):
            new = evolve(old, person=person or old.person, is_owner=is_owner, has_others=not is_owner)
            self.held[session_id] = new
            return reason_to_wait(new, self._taken(), self._count) is None
        claim = old if wait is None else wait.claim
        if person is None or claim is None:
            return True
        joined = claim.joined_by(person, is_owner=is_owner)
        if wait is not None and not is_owner:
            is_beyond = reason_to_wait(claim, self._taken(), self._count) is WaitReason.PERSON
            joined = evolve(joined, person=person) if is_beyond else joined
        if joined == claim:  # nothing changes for those who wait
            return True
        if wait is not None:
            wait.claim = joined
        else:
            self.held[session_id] = joined
        self.serve()
        return True

    def _taken(self) -> Counter[object]:
        """Count the claims of the working sandboxes."""
        taken: Counter[object] = Counter()
        for session_id in filter(self._is_working, self.held):
            taken.update(self.held[session_id].keys)
        return taken

    def _is_working(self, session_id: SessionId) -> bool:
        """Return True if the sandbox of a conversation with a slot is starting, working or ending."""
        current = self._running.get(session_id)
        return current is None or current.idle_since is None


def idle_to_end(
    running: Mapping[SessionId, Running], held: Mapping[SessionId, Claim], share: int, wanted: int
) -> list[SessionId]:
    """Return the sandboxes to stop for waiting conversations: the idle ones, longest idle first.

    Those of people with more than a share of sandboxes stop before the others. Working ones in which others joined an
    owner stop last: only if the owners have no slot.
    """
    ending = sum(bool(sandbox.ending) for sandbox in running.values())
    counts = Counter(claim.person for claim in held.values())
    to_stop = [
        (sandbox.idle_since is None, counts[held[session_id].person] <= share, sandbox.idle_since or 0.0, session_id)
        for session_id, sandbox in running.items()
        if not sandbox.ending
        and (sandbox.idle_since is not None or (held[session_id].is_owner and held[session_id].has_others))
    ]
    return [session_id for *_, session_id in sorted(to_stop)][: max(0, wanted - ending)]
