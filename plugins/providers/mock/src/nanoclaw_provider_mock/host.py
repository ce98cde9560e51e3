"""Host half of the mock provider: hands the script to the sandbox.

Without this plugin: there is no provider that works without a model key, and `ncl chat` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from nanoclaw_core import Provider, SettingsError, hookimpl


@frozen(kw_only=True)
class Settings:
    """[plugins.mock] in nanoclaw.toml.

    Args:
        script: JSON, as the README of nanoclaw-provider-mock tells.
        script_file: A file with it, on the host; read at every start of a sandbox.
        echo: True answers with what was said and nothing else.
        slash_commands: True takes `/word` as it is typed, as claude does.
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
    """Return what the runner half is told.

    Raises:
        SettingsError: The script file cannot be read.
    """
    settings = settings or Settings()
    found: dict[str, str] = {}
    if settings.script is not None:
        found["script"] = settings.script
    elif settings.script_file is not None:
        found["script"] = _read(Path(settings.script_file))
    if settings.echo:
        found["echo"] = "true"
    if settings.slash_commands:
        found["slash_commands"] = "true"
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"[plugins.mock] script_file = {str(path)!r} cannot be read: {error}") from error
