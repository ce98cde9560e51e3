"""The import contracts hold, and each detects a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ALL, ROOT, SETTINGS

LAYERS = "The core never imports a plugin; plugins never import each other"
PUBLIC = "Plugins use only the public surface of the core"
RUNNER = "The runner knows the wire and nothing of the host"
CLIENT = "The core does not know who asks it"
DOCKER = "Only the docker runtime knows docker"
CORE = "Core layers"
VIOLATIONS = [
    ("nanoclaw_core/logs.py", "nanoclaw_channel_terminal.host", LAYERS),
    ("nanoclaw_resource_gateway/host.py", "nanoclaw_channel_terminal.host", LAYERS),
    ("nanoclaw_wire/clock.py", "nanoclaw_core.errors", LAYERS),
    ("nanoclaw_untrusted/files.py", "nanoclaw_settings.errors", LAYERS),
    ("nanoclaw_channel_terminal/host.py", "nanoclaw_core.errors", PUBLIC),
    ("nanoclaw_runner/provider.py", "nanoclaw_core", RUNNER),
    ("nanoclaw_provider_mock/runner.py", "click", RUNNER),
    ("nanoclaw_runner/provider.py", "nanoclaw_untrusted.files", RUNNER),
    ("nanoclaw_client/arguments.py", "click", RUNNER),
    ("nanoclaw_core/control.py", "nanoclaw_client.verbs", CLIENT),
    ("nanoclaw_cli/serve.py", "nanoclaw_core.host", PUBLIC),
    ("nanoclaw_core/logs.py", "docker", DOCKER),
    ("nanoclaw_core/mailbox/due.py", "nanoclaw_core.host", CORE),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A directory with the packages of the checkout and its pyproject.toml."""
    for distribution in ALL:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(distribution.package_folder, tmp_path / distribution.package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(copy: Path) -> tuple[int, str]:
    """Check a copy; return the exit status and the output."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_contract_has_a_violation_here():
    assert {name for _, _, name in VIOLATIONS} == {
        contract["name"] for contract in SETTINGS["tool"]["importlinter"]["contracts"]
    }


def test_contracts_hold(copy: Path):
    status, output = lint(copy)
    assert status == 0, output


@pytest.mark.parametrize(("path", "imported", "contract"), VIOLATIONS)
def test_forbidden_import_in_a_function_is_reported(copy, path, imported, contract):
    with (copy / path).open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef _planted() -> None:\n    import {imported}\n")
    status, output = lint(copy)
    assert status == 1
    assert f"{contract} BROKEN" in output
