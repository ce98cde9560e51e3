"""The base class of the errors that a person can fix."""

from __future__ import annotations

from typing import ClassVar


class NanoclawError(Exception):
    """An error that a person can fix.

    The message names the fault, the value and the remedy. `code` is the frame error code for clients (`frames.py`).
    """

    code: ClassVar[str] = "handler-error"
