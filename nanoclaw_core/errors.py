"""The error classes of the host. `code` is the frame error code for clients."""

from __future__ import annotations

from nanoclaw_settings.errors import InvalidSetting as InvalidSetting
from nanoclaw_settings.errors import NeedsSettings as NeedsSettings
from nanoclaw_settings.errors import SettingsError as SettingsError
from nanoclaw_settings.errors import quote as quote
from nanoclaw_untrusted.errors import MigrationError as MigrationError
from nanoclaw_wire.errors import NanoclawError as NanoclawError

PLUGIN_ERRORS = (Exception, SystemExit)
"""Errors that an error boundary around a plugin's code catches, including `sys.exit`."""


class PluginError(NanoclawError):
    """A plugin has a used name or a wrong hook, or a required plugin is absent."""


class AlreadyRunning(NanoclawError):
    """Another host runs on this instance directory (I11)."""


class NotFound(NanoclawError):
    """The object does not exist, or the caller may not know that it exists."""

    code = "not-found"


class Forbidden(NanoclawError):
    """The caller may not do this."""

    code = "forbidden"


class ApprovalPending(NanoclawError):
    """The request is stored and waits for the approval of a human."""

    code = "approval-pending"


class InvalidArguments(NanoclawError):
    """The arguments are invalid."""

    code = "invalid-args"


class UnknownCommand(NanoclawError):
    """The command does not exist."""

    code = "unknown-command"


class DeliveryRefused(NanoclawError):
    """A platform will never accept this message, so no retry helps.

    Channel adapters raise it.
    """


class SandboxRefused(NanoclawError):
    """No sandbox can be made for this session until a person fixes the cause.

    Args:
        message: The cause and the remedy for the operator; the log and `ncl doctor` show it.
        for_people: A plain sentence for the people of the chat, who cannot fix the cause.
    """

    def __init__(self, message: str, *, for_people: str = "The agent cannot be started right now.") -> None:
        super().__init__(message)
        self.for_people = for_people


class SandboxFailed(NanoclawError):
    """A sandbox could not be made this time; a retry may help."""
