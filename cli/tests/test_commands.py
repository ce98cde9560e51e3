"""Local commands: found by metadata, imported on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nanoclaw_cli.commands import LocalCommand, contributed, find, load

from nanoclaw_core import PluginError


def install(folder: Path, distribution: str, entry_points: str) -> None:
    metadata = folder / f"{distribution}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "entry_points.txt").write_text(entry_points)


def test_contributed_reads_entry_points_of_distributions(tmp_path):
    install(tmp_path, "nanoclaw_extra", "[console_scripts]\nx = y:z\n\n[nanoclaw.commands]\nwave = extra.wave:wave\n")
    assert contributed([str(tmp_path)]) == [LocalCommand("wave", "extra.wave:wave", "nanoclaw-extra 1.0")]


def test_contributed_skips_paths_that_are_no_directories(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"")
    assert contributed([str(tmp_path / "nowhere"), str(tmp_path / "archive.zip")]) == []


def test_find_prefers_a_built_in_command(tmp_path, monkeypatch):
    install(tmp_path, "nanoclaw_bad", "[nanoclaw.commands]\nstatus = bad:status\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = find("status")
    assert command is not None
    assert command.target.startswith("nanoclaw_cli.")


def test_load_import_error_names_the_distribution():
    with pytest.raises(PluginError, match=r"'wave' of nanoclaw-extra 1\.0 cannot be loaded: ModuleNotFoundError"):
        load(LocalCommand("wave", "no_such_module:wave", "nanoclaw-extra 1.0"))


def test_load_refuses_an_object_that_is_no_command():
    with pytest.raises(PluginError, match="must be a click command, got"):
        load(LocalCommand("wave", "os:getcwd", "nanoclaw-extra 1.0"))


def test_help_works_with_a_broken_contributed_command(tmp_path):
    install(tmp_path, "nanoclaw_bad", "[nanoclaw.commands]\nwave = no_such_module:wave\n")
    done = subprocess.run(
        [sys.executable, "-m", "nanoclaw_cli", "--home", str(tmp_path / "home"), "help"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "(the command 'wave' of nanoclaw-bad 1.0 cannot be loaded" in done.stdout


def test_contributed_command_gets_the_invocation(tmp_path):
    install(tmp_path, "nanoclaw_extra", "[nanoclaw.commands]\nwave = extra:wave\n")
    (tmp_path / "extra.py").write_text(
        "import click\n"
        "@click.command()\n@click.argument('name')\n@click.pass_obj\n"
        "def wave(invocation, name):\n"
        "    click.echo(f'{name} {invocation.home} {invocation.as_json}')\n"
        "    return 7\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nanoclaw_cli", "wave", "--json", "Ada", "--home", "/somewhere"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "Ada /somewhere True\n", "")
