"""The one number space of a session's two files (I2): the host's numbers are even, the runner's odd.

An agent sees the number as the message's id and passes it back, so parity makes each lookup unambiguous.
Call both functions inside the write transaction that uses the number (⚠36).
"""


def next_even(highest_inbound: int | None) -> int:
    """Return the host's next number, above the highest in its own file (None if the file is empty)."""
    if highest_inbound is None or highest_inbound < 2:
        return 2
    return highest_inbound + 2 - highest_inbound % 2


def next_odd(highest_anywhere: int | None) -> int:
    """Return the runner's next number, above the highest of both files (None if both are empty)."""
    if highest_anywhere is None or highest_anywhere < 1:
        return 1
    return highest_anywhere + 1 + highest_anywhere % 2
