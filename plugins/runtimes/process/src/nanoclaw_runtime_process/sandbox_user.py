"""The user that sandboxes run as if the host runs as root.

A sandbox that runs as the host's root passes every check of the kernel for a user instead of a capability. So a root
host maps its sandboxes to a user that owns nothing. The choice is stored, because files belong to that user.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from nanoclaw_wire.atomic_files import write_atomically

MIN_USER_ID, MAX_USER_ID = 200_000, 524_287  # above the users of people, below those that systemd assigns to containers
MAX_USABLE_ID = 2**31 - 1  # some programs read larger ones as negative numbers
UID_MAP, SUBORDINATE_IDS = Path("/proc/self/uid_map"), Path("/etc/subuid")
Ranges = Sequence[range]


class NoUser(Exception):
    """No unprivileged user is available; the message has the reason and the remedy."""


def sandbox_user(run_as: int | None, kept: Path, instance_id: str) -> int | None:
    """Return the user that sandboxes run as, or None for the host's own user.

    Args:
        run_as: The setting of that name.
        kept: The file that stores an automatic choice, see `keep_user`; it may be missing.
        instance_id: Hexadecimal digits. Spreads instances over the numbers.

    Raises:
        NoUser: The setting is unusable, or no number is free for a root host.
        OSError: The file, or the machine's own list of users, cannot be read.
    """
    host = os.getuid()
    if host != 0:
        if run_as not in (None, host):
            raise NoUser(f"run_as: only a host that runs as root can run sandboxes as another user, got {run_as}")
        return None
    mapped = _ranges(UID_MAP)
    if run_as is not None:
        return _usable(run_as, mapped)
    try:
        stored = int(kept.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        stored = 0
    if stored >= MIN_USER_ID and _is_in(stored, mapped):
        return stored
    start = MIN_USER_ID + int(instance_id, 16) % (MAX_USER_ID - MIN_USER_ID + 1)
    return choose_user(start, mapped, _subordinate_ids())


def keep_user(kept: Path, user_id: int) -> None:
    """Store a choice for the next host. Call this before any file gets the user as its owner.

    Raises:
        OSError: The file cannot be written.
    """
    text = f"{user_id}\n"
    if kept.exists() and kept.read_text(encoding="ascii", errors="replace") == text:
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, text.encode("ascii"), mode=0o644, sync=True)


def choose_user(start: int, mapped: Ranges, taken: Ranges) -> int:
    """Return the first free number from `start` on, then from the lowest number on.

    Raises:
        NoUser: No number is free, or none exists in the host's own user namespace.
    """
    for number in chain(range(start, MAX_USER_ID + 1), range(MIN_USER_ID, start)):
        if _is_in(number, mapped) and not _is_in(number, taken) and not name_of(number):
            return number
    raise NoUser(
        f"run_as: no user from {MIN_USER_ID} to {MAX_USER_ID} is free on this machine. Set it under [plugins.process]"
        " to the number of a user that owns nothing, or run the host as an ordinary user"
    )


def _usable(number: int, mapped: Ranges) -> int:
    if not 0 < number <= MAX_USABLE_ID or not _is_in(number, mapped):
        raise NoUser(f"run_as: must be the number of an unprivileged user of this machine, got {number}")
    return number


def _ranges(uid_map: Path) -> Ranges:
    """Read the ranges of a uid_map, see user_namespaces(7): first number inside, first outside, count."""
    lines = [line.split() for line in uid_map.read_text(encoding="ascii").splitlines()]
    return [range(int(first), int(first) + int(count)) for first, _, count in lines]


def _subordinate_ids() -> Ranges:
    """Read the ranges of /etc/subuid, see subuid(5): numbers for rootless containers of other users."""
    try:
        text = SUBORDINATE_IDS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = [line.split(":") for line in text.splitlines()]
    valid = [entry[1:] for entry in fields if len(entry) == 3 and entry[1].isdigit() and entry[2].isdigit()]
    return [range(int(first), int(first) + int(count)) for first, count in valid]


def _is_in(number: int, ranges: Iterable[range]) -> bool:
    return any(number in candidates for candidates in ranges)


def name_of(number: int) -> str:
    """Return the name of a user of this machine, or an empty string if the number has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return ""
