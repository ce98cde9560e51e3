"""The size of the core and of its installation, and the cost of installed plugins that are not used."""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from nanoclaw_cli.init import create

from . import targets
from .figures import Figure

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = 20
DESCRIPTION = "The purpose of this plugin, and its set-up.\n" * 100  # as long as real descriptions
PLUGIN = '''"""An unused plugin."""

from nanoclaw_core import Access, Verb, hookimpl


async def run(arguments, caller, context):
    return "done"


@hookimpl
def nanoclaw_verbs():
    yield Verb(resource="{name}", name="list", access=Access.ALLOWED, run=run)
'''
HOST_START = """
import asyncio, os
from pathlib import Path
from nanoclaw_core import Host, load_settings

async def main():
    async with Host(load_settings(Path(os.environ["NANOCLAW_HOME"]), os.environ)) as host:
        print(host.started_in_s * 1_000, len(host.plugins.reports()))

asyncio.run(main())
"""


def size(home: Path) -> Iterator[Figure]:
    """Count the core's lines of code, and measure a new environment with only the core."""
    files = [p for p in (ROOT / "nanoclaw_core").rglob("*.py") if "testing" not in p.parts]
    yield Figure(metric=targets.CORE_LINES, value=sum(map(_code_lines, files)))
    packages = _installed(home / "environment")
    yield Figure(metric=targets.INSTALL_PACKAGES, value=len(list(packages.glob("*.dist-info"))))
    size_bytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    yield Figure(metric=targets.INSTALL_MB, value=size_bytes / 1_000_000)


def plugin_cost(home: Path, rounds: int) -> Iterator[Figure]:
    """Measure the time that an unused plugin adds to the start of a host.

    Alternate starts with and without plugins.
    """
    environment = {**os.environ, "NANOCLAW_HOME": str(home / "instance")}
    create(home / "instance", environment)
    many = with_plugins(environment, home / "plugins")
    added = []
    for _ in range(rounds):
        (without_ms, few_plugins), (with_ms, all_plugins) = _started(environment), _started(many)
        assert all_plugins == few_plugins + PLUGINS, "not all plugins were loaded"
        added.append((with_ms - without_ms) / PLUGINS)
    yield Figure(metric=targets.PLUGIN_START, value=statistics.median(added))


def with_plugins(environment: dict[str, str], directory: Path) -> dict[str, str]:
    """Install `PLUGINS` plugins into a directory, and return an environment that has them."""
    for number in range(PLUGINS):
        name = f"unused{number}"
        metadata = directory / f"nanoclaw_resource_{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        head = f"Metadata-Version: 2.1\nName: nanoclaw-resource-{name}\nVersion: 1.0\n"
        (metadata / "METADATA").write_text(f"{head}\n{DESCRIPTION}", encoding="utf-8")
        (metadata / "entry_points.txt").write_text(f"[nanoclaw]\n{name} = nanoclaw_resource_{name}.host\n")
        package = directory / f"nanoclaw_resource_{name}"
        package.mkdir()
        (package / "__init__.py").write_text('"""An unused plugin."""\n')
        (package / "host.py").write_text(PLUGIN.replace("{name}", name))
    path = os.pathsep.join(filter(None, [str(directory), environment.get("PYTHONPATH")]))
    return {**environment, "PYTHONPATH": path}


def _started(environment: dict[str, str]) -> tuple[float, int]:
    """Start a host in its own process.

    Return the milliseconds of its start and the number of its plugins.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", HOST_START], env=environment, capture_output=True, text=True, check=True
    )
    milliseconds, plugins = done.stdout.split()
    return float(milliseconds), int(plugins)


def _installed(environment: Path) -> Path:
    """Install the core into a new environment, and return the directory of its packages."""
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    libraries = map(str, (ROOT / "plugins" / "libraries").iterdir())
    sources = [str(ROOT), str(ROOT / "container" / "nanoclaw_wire"), *libraries]
    subprocess.run([sys.executable, "-I", "-m", "pip", "--python", python, "install", "--quiet", *sources], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    return packages


def _code_lines(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for n, line in lines if n not in prose and line.strip() and not line.lstrip().startswith("#"))
