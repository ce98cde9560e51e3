"""No command prints terminal control characters of a file, a table or a plugin."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from attrs import evolve
from installed import install
from ncl_process import ncl

from nanoclaw_core.instance import InstancePaths, open_database
from nanoclaw_core.store import agents

HOSTILE = "\x1b[2J\x9b31m\u202e\nproblem  forged"
BROKEN = f"raise RuntimeError({HOSTILE!r})"
IN_TOML = r"\u001b[2J\u009b31m\u202e\nproblem  forged"
COMMANDS = ("doctor", "plugins", "plugins info bad", "chat --timeout 1 hello")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Install a plugin whose import fails with a hostile text; return the environment for `ncl`."""
    install(tmp_path / "site", "acme-bad", "acme_bad", BROKEN, plugin="bad")
    return {"PYTHONPATH": str(tmp_path / "site"), "DOCKER_HOST": "unix:///nowhere.sock"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an instance with a hostile table of a plugin and a hostile mount."""
    home = tmp_path / "home"
    assert ncl(home, "init").returncode == 0
    with (home / "nanoclaw.toml").open("a") as file:
        file.write(f'\n[plugins."{IN_TOML}"]\n')
    with contextlib.closing(open_database(InstancePaths(home=home))) as db:
        group = agents.by_folder(db, "main")
        assert group is not None
        mount = {"path": f"/nowhere/{HOSTILE}", "name": HOSTILE}
        agents.save_config(db, evolve(agents.config_of(db, group.id), additional_mounts=[mount]))
    return home


def unprintable(text: str) -> list[str]:
    return sorted({character for character in text if not character.isprintable() and character != "\n"})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_no_control_characters(home: Path, environment: dict[str, str], command: str) -> None:
    done = ncl(home, *command.split(), environment=environment)
    assert unprintable(done.stdout + done.stderr) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_error_has_no_control_characters(home: Path, environment: dict[str, str], command: str) -> None:
    (home / "nanoclaw.toml").write_text(f'[core]\n"{IN_TOML}" = 1\n')
    done = ncl(home, *command.split(), environment={**environment, "NANOCLAW_DEBUG": "1"})
    assert unprintable(done.stdout + done.stderr) == []


def test_doctor_shows_each_finding_on_its_own_line(home: Path, environment: dict[str, str]) -> None:
    lines = ncl(home, "doctor", environment=environment).stdout.splitlines()
    assert [line for line in lines if line.startswith("problem  forged")] == []
    assert r"\u001b[2J\u009b31m\u202e\nproblem  forged" in "\n".join(lines)
