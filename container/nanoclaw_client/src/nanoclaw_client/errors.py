"""Errors before an answer arrives. `code` is the frame error code that the host would have sent."""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """An error that the user can fix. The message names the fault, the value and the remedy."""

    code: ClassVar[str] = "handler-error"


class UsageError(ClientError):
    """The command line is invalid."""

    code = "invalid-args"


class TransportError(ClientError):
    """The server cannot be reached, or its answer is invalid."""

    code = "transport-error"


class NotListening(TransportError):
    """The socket does not exist, or no process listens on it."""
