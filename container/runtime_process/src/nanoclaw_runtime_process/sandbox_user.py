"""The user of the host that sandboxes run as, if the host is root.

A sandbox whose user is the host's root passes every check of the kernel that asks for a user and not for a capability.
So a root host maps its sandboxes to a user that owns nothing. The choice is kept, because files belong to it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

LEAST, GREATEST = 200_000, 524_287  # between the users of people and those that systemd gives to containers
GREATEST_USABLE = 2**31 - 1  # programs take larger ones for negative numbers
UID_MAP, SUBORDINATE_IDS = Path("/proc/self/uid_map"), Path("/etc/subuid")
Ranges = Sequence[range]


class NoUser(Exception):
    """No unprivileged user can be had; the message says why and what to do."""


def sandbox_user(run_as: int | None, kept: Path, instance_id: str) -> int | None:
    """Return the user that sandboxes run as, or None for the host's own user.

    Args:
        run_as: The setting of that name.
        kept: The file that keeps an automatic choice, see `keep_user`; it need not exist.
        instance_id: Hexadecimal digits. Spreads instances over the numbers.

    Raises:
        NoUser: The setting cannot work, or a root host finds no number.
        OSError: The file, or the machine's own list of users, cannot be read.
    """
    host = os.getuid()
    if host != 0:
        if run_as not in (None, host):
            raise NoUser(f"run_as: only a host that is root can run sandboxes as another user, got {run_as}")
        return None
    mapped = _ranges(UID_MAP)
    if run_as is not None:
        return _usable(run_as, mapped)
    try:
        before = int(kept.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        before = 0
    if before >= LEAST and _is_in(before, mapped):
        return before
    start = LEAST + int(instance_id, 16) % (GREATEST - LEAST + 1)
    return choose_user(start, mapped, _subordinate_ids())


def keep_user(kept: Path, user_id: int) -> None:
    """Keep a choice, so that the next host makes the same one; call it before files are given to the user.

    Raises:
        OSError: It cannot be kept.
    """
    text = f"{user_id}\n"
    if kept.exists() and kept.read_text(encoding="ascii", errors="replace") == text:
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_suffix(".new")
    beside.write_text(text, encoding="ascii")
    beside.replace(kept)


def choose_user(start: int, mapped: Ranges, taken: Ranges) -> int:
    """Return the first free number from `start` on, going round.

    Raises:
        NoUser: Every number is taken, or none exists in the host's own user namespace.
    """
    for number in chain(range(start, GREATEST + 1), range(LEAST, start)):
        if _is_in(number, mapped) and not _is_in(number, taken) and not name_of(number):
            return number
    raise NoUser(
        f"run_as: no user from {LEAST} to {GREATEST} is free on this machine. Set it under [plugins.process] to the"
        " number of a user that owns nothing, or run the host as an ordinary user"
    )


def _usable(number: int, mapped: Ranges) -> int:
    if not 0 < number <= GREATEST_USABLE or not _is_in(number, mapped):
        raise NoUser(f"run_as: must be the number of an unprivileged user of this machine, got {number}")
    return number


def _ranges(uid_map: Path) -> Ranges:
    """Read user_namespaces(7)'s map: first number inside, first outside, how many."""
    lines = [line.split() for line in uid_map.read_text(encoding="ascii").splitlines()]
    return [range(int(first), int(first) + int(count)) for first, _, count in lines]


def _subordinate_ids() -> Ranges:
    """Read subuid(5): numbers that rootless containers of other users may have."""
    try:
        text = SUBORDINATE_IDS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = [line.split(":") for line in text.splitlines()]
    numbers = [(int(one[1]), int(one[2])) for one in fields if len(one) == 3 and one[1].isdigit() and one[2].isdigit()]
    return [range(first, first + count) for first, count in numbers]


def _is_in(number: int, ranges: Iterable[range]) -> bool:
    return any(number in each for each in ranges)


def name_of(number: int) -> str:
    """Return the name of a user of this machine; empty if the number has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return ""
