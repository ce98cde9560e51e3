"""The modules that an import or a command loads."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PLUGINS, ROOT

import nanoclaw_core

HOST_ONLY = ("nanoclaw_core", "nanoclaw_settings", "nanoclaw_untrusted", "pluggy", "click", "docker")
HEAVY = ("click", "attr", "cattrs", "apsw", "asyncio", "pluggy", "importlib.metadata")


def loaded(statement: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after a statement."""
    script = f"import sys\n{statement}\nprint(*sys.modules, file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return set(done.stderr.split())


def runner_modules() -> list[str]:
    """Return the modules of the runner, and the runner halves of the providers."""
    source = ROOT / "container" / "nanoclaw_runner" / "src"
    names = [".".join(path.relative_to(source).with_suffix("").parts) for path in source.rglob("*.py")]
    halves = [f"{plugin.package}.runner" for plugin in PLUGINS if "nanoclaw.runner" in plugin.entry_points]
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__")) + halves


def test_runner_loads_nothing_of_the_host():
    modules = loaded("import " + ", ".join(runner_modules()))
    assert [name for name in HOST_ONLY if name in modules] == []


def test_client_loads_nothing_heavy_for_its_version():
    modules = loaded("from nanoclaw_cli.main import main\nmain(['--version'], {})")
    assert [name for name in (*HEAVY, "json", "socket", "pathlib") if name in modules] == []


def test_client_loads_nothing_heavy_for_a_request(tmp_path: Path):
    modules = loaded(
        "from nanoclaw_cli import client\nfrom nanoclaw_cli.main import main\n"
        f"sys.stderr = open('/dev/null', 'w')\nmain(['--home', {str(tmp_path)!r}, 'groups', 'list'], {{}})"
    )
    assert [name for name in HEAVY if name in modules] == []


def test_sandbox_client_loads_only_the_wire_and_the_stdlib(tmp_path: Path):
    modules = loaded(
        "from nanoclaw_client.__main__ import main\n"
        f"sys.stderr = open('/dev/null', 'w')\nmain(['groups', 'list'], {{'NANOCLAW_NCL_SOCKET': {str(tmp_path)!r}}})"
    ) - loaded("pass")
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    assert sorted(packages) == ["nanoclaw_client", "nanoclaw_wire"]
    assert [name for name in (*HEAVY, "pathlib") if name in modules] == []


def test_help_loads_nothing_heavy_except_click(tmp_path: Path):
    modules = loaded(f"from nanoclaw_cli.main import main\nmain(['--home', {str(tmp_path)!r}, 'help'], {{}})")
    assert [name for name in HEAVY if name in modules] == ["click"]


def test_loading_plugins_does_not_load_docker():
    modules = loaded("from nanoclaw_core.plugins import Plugins\nPlugins().load_installed()")
    assert "docker" not in modules


def test_every_public_name_exists_and_is_typed():
    source = ast.parse(Path(nanoclaw_core.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    typed = [
        alias.asname or alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nanoclaw_")
        for alias in node.names
    ]
    assert sorted(typed) == sorted(nanoclaw_core.__all__)
    assert [name for name in nanoclaw_core.__all__ if getattr(nanoclaw_core, name, None) is None] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugin_package_import_loads_neither_half(plugin):
    importlib.import_module(plugin.package)
    modules = loaded(f"import {plugin.package}")
    assert sorted(name for name in modules if name.startswith(f"{plugin.package}.")) == []
