"""Every error of ours. `code` is the frame error code a client sees."""

from __future__ import annotations

from typing import ClassVar

PLUGIN_ERRORS = (Exception, SystemExit)
"""What a fence around a plugin's code catches: whatever it raises, and its wish to end the process."""


class NanoclawError(Exception):
    """Something went wrong that a person can act on; the message says what, with what value, and what to do."""

    code: ClassVar[str] = "handler-error"


class PluginError(NanoclawError):
    """A plugin does not fit: its name is taken, a hook does not match, or a required one is absent."""


class SettingsError(NanoclawError):
    """nanoclaw.toml, or a plugin's table in it, is not what it should be. Nothing was started."""


class MigrationError(NanoclawError):
    """A migration failed or touched what is not its own. That step left nothing behind; the steps before it stand."""


class AlreadyRunning(NanoclawError):
    """Another host has this instance directory (I11)."""


class NotFound(NanoclawError):
    """There is no such thing, or the caller may not know that there is."""

    code = "not-found"


class Forbidden(NanoclawError):
    """The caller may not do this."""

    code = "forbidden"


class ApprovalPending(NanoclawError):
    """The request is held until a human answers; it is stored."""

    code = "approval-pending"


class InvalidArguments(NanoclawError):
    """The arguments do not fit."""

    code = "invalid-args"


class UnknownCommand(NanoclawError):
    """There is no such command."""

    code = "unknown-command"


class DeliveryRefused(NanoclawError):
    """A platform will never take this message: trying again is useless. For channel adapters to raise."""


class SandboxRefused(NanoclawError):
    """No sandbox can be made for this session as things are; trying again helps only after somebody acted.

    Args:
        message: The cause and the remedy, for the operator: the log and `ncl doctor` show it.
        for_people: A plain sentence for the people of the chat, who can do nothing about the cause.
    """

    def __init__(self, message: str, *, for_people: str = "The agent cannot be started right now.") -> None:
        super().__init__(message)
        self.for_people = for_people


class SandboxFailed(NanoclawError):
    """A sandbox could not be made this time. Trying again later may help."""
