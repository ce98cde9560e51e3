"""The errors of invalid settings."""

from __future__ import annotations

from nanoclaw_wire.errors import NanoclawError


def quote(value: object) -> str:
    """Return the beginning of a value's representation, for an error. No value makes it fail or long."""
    try:
        return f"{value!r:.80}"
    except (Exception, SystemExit):  # nested too deeply, or of a class with a broken `__repr__`
        return f"a {type(value).__name__}"


class SettingsError(NanoclawError):
    """A settings file or a table in it is invalid. Nothing was started.

    Args:
        fault: The key, the rule and the value, without a full stop.
        remedy: A sentence that says how to fix it. The message is the fault, then the remedy.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(f"{fault}. {remedy}" if remedy else fault)
        self.fault, self.remedy = fault, remedy


class NeedsSettings(SettingsError):
    """A table only lacks required settings; the error names them."""


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
