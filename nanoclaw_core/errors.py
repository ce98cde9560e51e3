"""All error classes of nanoclaw. `code` is the frame error code for clients."""

from __future__ import annotations

from typing import ClassVar

PLUGIN_ERRORS = (Exception, SystemExit)
"""Errors that an error boundary around a plugin's code catches, including `sys.exit`."""


def quote(value: object) -> str:
    """Return the beginning of a value's representation, for an error. No value makes it fail or long."""
    try:
        return f"{value!r:.80}"
    except PLUGIN_ERRORS:  # nested too deeply, or of a class with a broken `__repr__`
        return f"a {type(value).__name__}"


class NanoclawError(Exception):
    """An error that a person can fix.

    The message names the fault, the value and the remedy.
    """

    code: ClassVar[str] = "handler-error"


class PluginError(NanoclawError):
    """A plugin has a used name or a wrong hook, or a required plugin is absent."""


class SettingsError(NanoclawError):
    """nanoclaw.toml or a plugin's table in it is invalid. Nothing was started.

    Args:
        fault: The key, the rule and the value, without a full stop.
        remedy: A sentence that says how to fix it. The message is the fault, then the remedy.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(f"{fault}. {remedy}" if remedy else fault)
        self.fault, self.remedy = fault, remedy


class NeedsSettings(SettingsError):
    """A plugin only lacks required settings; the error names them."""


class InvalidSetting(SettingsError):
    """A value breaks the rule of its settings class. Validators raise it.

    Args:
        key: The name of the field.
        rule: The rule, for example "must be at least 1". It must not contain the value, which may be a secret.
        value: The value, which the message shows in a short form. A `Secret` stays hidden.
    """

    def __init__(self, key: str, rule: str, value: object) -> None:
        super().__init__(f"{key}: {rule}, got {quote(value)}")
        self.key, self.rule = key, rule


class MigrationError(NanoclawError):
    """A migration failed or touched a foreign object.

    It left nothing behind; earlier steps stay applied.
    """


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
