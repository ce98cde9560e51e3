"""Write the lists of distributions in the root pyproject.toml from the folders.

`--check` only compares.

Each plugin is a folder `plugins/<kind>/<name>/` with a pyproject.toml of its own. The root names it in the extra
`default`, in uv's sources and in the import contracts. A library in `plugins/libraries/` is no plugin: the core may
import it, so it has a layer between the core and the wire. This script writes those lists, so a new plugin or library
is one new folder.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from attrs import frozen

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "pyproject.toml"
LIBRARIES = ROOT / "plugins" / "libraries"
VERSIONS = ">=0.1,<0.2"
EXTRAS = ("host", "runner")
LAYERS = "The core never imports a plugin; plugins never import each other"
PUBLIC = "Plugins use only the public surface of the core"
HOST_ONLY = ("nanoclaw_core", "pluggy", "click", "docker")
RUNNER = "The runner knows the wire and nothing of the host"
DOCKER = "Only the docker runtime knows docker"


@frozen(kw_only=True)
class Distribution:
    """One folder with a pyproject.toml."""

    name: str
    package: str
    extras: Sequence[str]
    is_plugin: bool
    is_library: bool
    has_runner: bool


def read(folder: Path) -> Distribution:
    """Read the declaration of a folder."""
    declared = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    is_library = folder.parent == LIBRARIES
    return Distribution(
        name=declared["name"],
        package=declared["name"].replace("-", "_"),
        extras=[extra for extra in EXTRAS if extra in declared.get("optional-dependencies", {})],
        is_plugin=folder.is_relative_to(ROOT / "plugins") and not is_library,
        is_library=is_library,
        has_runner="nanoclaw.runner" in declared.get("entry-points", {}),
    )


def distributions() -> list[Distribution]:
    """Return the members of the workspace, sorted by name."""
    folders = [
        path.parent
        for pattern in ("cli", "container/*", "plugins/*/*")
        for path in ROOT.glob(f"{pattern}/pyproject.toml")
    ]
    return sorted((read(folder) for folder in folders), key=lambda member: member.name)


def multiline(values: Sequence[str]) -> Any:
    """Return an array with one value a line."""
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(multiline=True)


def generated(text: str, members: Sequence[Distribution]) -> str:
    """Return the root's declaration with the lists of these members."""
    document: Any = tomlkit.parse(text)
    plugins = [member for member in members if member.is_plugin]
    libraries = [member.package for member in members if member.is_library]
    required = [text.split(">")[0] for text in document["project"]["dependencies"]]
    default = [
        member.name + (f"[{','.join(member.extras)}]" if member.extras else "") + VERSIONS
        for member in members
        if member.name not in required
    ]
    document["project"]["optional-dependencies"]["default"] = multiline(default)
    sources = document["tool"]["uv"]["sources"]
    for name in list(sources):
        del sources[name]
    for name in ("nanoclaw-core", *(member.name for member in members)):
        source = tomlkit.inline_table()
        source["workspace"] = True
        sources[name] = source
    packages = sorted(["nanoclaw_core", *(member.package for member in members)])
    linter = document["tool"]["importlinter"]
    linter["root_packages"] = multiline(packages)
    contracts = {contract["name"]: contract for contract in linter["contracts"]}
    contracts[LAYERS]["layers"][0] = " | ".join(plugin.package for plugin in plugins)
    contracts[LAYERS]["layers"][-2] = " | ".join(libraries)
    contracts[PUBLIC]["source_modules"] = multiline(
        ["nanoclaw_cli.**", *(f"{plugin.package}.**" for plugin in plugins)]
    )
    halves = [f"{plugin.package}.runner" for plugin in plugins if plugin.has_runner]
    contracts[RUNNER]["source_modules"] = multiline(["nanoclaw_client", "nanoclaw_runner", "nanoclaw_wire", *halves])
    contracts[RUNNER]["forbidden_modules"] = [*HOST_ONLY, *libraries]
    contracts[DOCKER]["source_modules"] = multiline([name for name in packages if name != "nanoclaw_runtime_docker"])
    return tomlkit.dumps(document)


def main(arguments: Sequence[str]) -> int:
    """Write the lists, or compare them; return 1 if they differ."""
    text = FILE.read_text(encoding="utf-8")
    wanted = generated(text, distributions())
    if wanted == text:
        return 0
    if "--check" in arguments:
        print("pyproject.toml does not list the folders; run python tools/generate_workspace.py", file=sys.stderr)
        return 1
    FILE.write_text(wanted, encoding="utf-8")
    print("written: pyproject.toml")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
