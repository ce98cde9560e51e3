"""What can go wrong before there is an answer. `code` is the frame error code that the host would have given."""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """Something that whoever typed can act on; the message says what, with what value, and what to do."""

    code: ClassVar[str] = "handler-error"


class UsageError(ClientError):
    """The command line makes no sense."""

    code = "invalid-args"


class TransportError(ClientError):
    """Nobody could be asked, or the answer is nonsense."""

    code = "transport-error"


class NotListening(TransportError):
    """There is no socket to ask at, or nobody behind it."""
