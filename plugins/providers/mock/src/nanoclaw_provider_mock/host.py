"""Host half of the mock provider: passes the script to the sandbox.

Without this plugin: no provider works without a model key, and `ncl chat` reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from nanoclaw_core import Provider, SettingsError, hookimpl


@frozen(kw_only=True)
class Settings:
    """The table [plugins.mock] of nanoclaw.toml.

    Args:
        script: A JSON list of steps, described in the README of nanoclaw-provider-mock.
        script_file: A file with the script, on the host. Read at every start of a sandbox.
        echo: True to answer with the text of the message and nothing else.
        slash_commands: True to get `/word` unchanged, as claude does.
    """

    script: str | None = None
    script_file: str | None = None
    echo: bool = False
    slash_commands: bool = False


@hookimpl
def nanoclaw_providers() -> Iterable[Provider]:
    """Contribute `mock`."""
    yield Provider(name="mock", runs_tools=False, settings=Settings, options=options)


def options(settings: Settings | None, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the options of the runner half.

    Raises:
        SettingsError: The script file cannot be read.
    """
    settings = settings or Settings()
    values: dict[str, str] = {}
    if settings.script is not None:
        values["script"] = settings.script
    elif settings.script_file is not None:
        values["script"] = _read(Path(settings.script_file))
    if settings.echo:
        values["echo"] = "true"
    if settings.slash_commands:
        values["slash_commands"] = "true"
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"[plugins.mock] script_file: cannot read {str(path)!r}: {error}") from error
