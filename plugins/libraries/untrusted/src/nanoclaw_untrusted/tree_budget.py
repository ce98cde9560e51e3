"""A budget for directories that others filled and that nothing writes any more: the oldest beyond it are removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from attrs import field, frozen
from nanoclaw_wire.trash import Trash
from nanoclaw_wire.untrusted_trees import tree_size


@frozen(kw_only=True)
class KeptTree:
    """A directory of the budget.

    Args:
        name: The name of the directory.
        at: Its time, in a form that sorts as the times do.
        owner: Its cause. The last directory of each owner counts before all others, so that an owner with many
            directories removes only its own.
    """

    name: str
    at: str
    owner: object


@frozen(kw_only=True)
class TreeBudget:
    """Removes directories below a root. Each is measured once, in a thread.

    Args:
        reduce: Removes the less important parts of a directory, in a thread. It is called for the last directory of an
            owner that does not fit.
    """

    root: Path
    trash: Trash
    max_bytes: int
    reduce: Callable[[Path], None]
    _sizes: dict[str, int] = field(factory=dict, init=False)

    async def enforce(self, trees: Sequence[KeptTree], oldest: str, removed: Callable[[KeptTree, str], None]) -> None:
        """Remove the directories before a time, then those that do not fit; `removed` gets each with the reason.

        Raises:
            OSError: Some directories are still there; the next call removes them.
        """
        size, count = 0, Counter[object]()
        order = []
        for tree in sorted(trees, key=lambda tree: tree.at, reverse=True):
            order.append((count[tree.owner] > 0, tree))
            count[tree.owner] += 1
        for is_older, tree in sorted(order, key=lambda item: item[0]):
            if tree.at < oldest:
                reason = "age"
            else:
                if not is_older and size + await self._measure(tree) > self.max_bytes:
                    await asyncio.to_thread(self.reduce, self.root / tree.name)
                    self._sizes.pop(tree.name, None)
                reason = "size" if size + await self._measure(tree) > self.max_bytes else ""
            if not reason:
                size += await self._measure(tree)
                continue
            with contextlib.suppress(FileNotFoundError):  # the operator was faster
                self.trash.put(self.root / tree.name)
            self._sizes.pop(tree.name, None)
            removed(tree, reason)

    def _measure(self, tree: KeptTree) -> Awaitable[int]:
        return asyncio.to_thread(self._size_of, tree.name)

    def _size_of(self, name: str) -> int:
        if name not in self._sizes:
            self._sizes[name] = tree_size(self.root / name, self.max_bytes + 1)
        return self._sizes[name]
