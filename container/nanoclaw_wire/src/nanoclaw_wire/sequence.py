"""I2: one number space per session over both files; the host's numbers are even, the runner's odd.

The number is the message id an agent sees and passes back, so parity keeps a lookup unambiguous.
Both functions are called inside the write transaction that uses the number (⚠36).
"""


def next_even(highest_inbound: int | None) -> int:
    """Return the host's next number, from the highest in its own file (None where it is empty)."""
    if highest_inbound is None or highest_inbound < 2:
        return 2
    return highest_inbound + 2 - highest_inbound % 2


def next_odd(highest_anywhere: int | None) -> int:
    """Return the runner's next number, above the highest of both files (None where both are empty)."""
    if highest_anywhere is None or highest_anywhere < 1:
        return 1
    return highest_anywhere + 1 + highest_anywhere % 2
