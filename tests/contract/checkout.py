"""The distributions of this checkout, from its own files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / "plugins" / "libraries"
KINDS = {"channels": "channel", "providers": "provider", "resources": "resource", "runtimes": "runtime"}


@frozen
class Distribution:
    """One distribution of the checkout.

    Args:
        folder: The directory of its pyproject.toml.
        name: The name that the folder requires.
        plugin: The plugin's name, or None if it is not a plugin.
    """

    folder: Path
    name: str
    plugin: str | None

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    @property
    def package_folder(self) -> Path:
        return ROOT / self.package if self.folder == ROOT else self.folder / "src" / self.package

    @property
    def declared(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def entry_points(self) -> dict[str, dict[str, str]]:
        return self.declared["project"].get("entry-points", {})


def _members() -> list[Distribution]:
    members = [Distribution(ROOT / "cli", "nanoclaw-cli", None)]
    for folder in sorted(path.parent for path in ROOT.glob("container/*/pyproject.toml")):
        members.append(Distribution(folder, folder.name.replace("_", "-"), None))
    for folder in sorted(LIBRARIES.iterdir()):
        members.append(Distribution(folder, f"nanoclaw-{folder.name}", None))
    for folder in sorted(path for path in ROOT.glob("plugins/*/*") if path.is_dir() and path.parent != LIBRARIES):
        members.append(Distribution(folder, f"nanoclaw-{KINDS[folder.parent.name]}-{folder.name}", folder.name))
    return members


CORE = Distribution(ROOT, "nanoclaw-core", None)
MEMBERS = _members()
PLUGINS = [member for member in MEMBERS if member.plugin is not None]
ALL = [CORE, *MEMBERS]
SETTINGS = CORE.declared
