"""Local commands: found by metadata, and only the one that was asked for is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nanoclaw_cli.commands import Command, contributed, find, load

from nanoclaw_core import PluginError


def install(folder: Path, distribution: str, entry_points: str) -> None:
    metadata = folder / f"{distribution}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "entry_points.txt").write_text(entry_points)


def test_a_distribution_contributes_commands(tmp_path):
    install(tmp_path, "nanoclaw_extra", "[console_scripts]\nx = y:z\n\n[nanoclaw.commands]\nwave = extra.wave:wave\n")
    assert contributed([str(tmp_path)]) == [Command("wave", "extra.wave:wave", "nanoclaw-extra 1.0")]


def test_places_that_are_no_folders_are_passed_over(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"")
    assert contributed([str(tmp_path / "nowhere"), str(tmp_path / "archive.zip")]) == []


def test_a_command_of_ours_cannot_be_replaced(tmp_path, monkeypatch):
    install(tmp_path, "nanoclaw_bad", "[nanoclaw.commands]\nstatus = bad:status\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = find("status")
    assert command is not None
    assert command.target.startswith("nanoclaw_cli.")


def test_a_command_that_cannot_be_imported_names_its_distribution():
    with pytest.raises(PluginError, match=r"'wave' of nanoclaw-extra 1\.0 cannot be loaded: ModuleNotFoundError"):
        load(Command("wave", "no_such_module:wave", "nanoclaw-extra 1.0"))


def test_a_command_that_is_no_click_command_is_refused():
    with pytest.raises(PluginError, match="is no click command"):
        load(Command("wave", "os:getcwd", "nanoclaw-extra 1.0"))


def test_the_other_commands_work_beside_one_that_cannot_be_imported(tmp_path):
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


def test_a_contributed_command_gets_how_ncl_was_called(tmp_path):
    install(tmp_path, "nanoclaw_extra", "[nanoclaw.commands]\nwave = extra:wave\n")
    (tmp_path / "extra.py").write_text(
        "import click\n"
        "@click.command()\n@click.argument('who')\n@click.pass_obj\n"
        "def wave(invocation, who):\n"
        "    click.echo(f'{who} {invocation.home} {invocation.as_json}')\n"
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
