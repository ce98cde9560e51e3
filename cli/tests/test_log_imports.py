"""Only `ncl logs` imports structlog, because structlog imports rich if it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ncl_process import NCL, first_line, ncl, serving, stop

RAISE = "raise SystemExit(f'{__name__} was imported')\n"


def import_path(directory: Path, *names: str) -> str:
    """Return a PYTHONPATH with packages of these names that end the process at their import."""
    for name in names:
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(RAISE)
    return str(directory)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("name", ["structlog", "rich"])
def test_serve_and_chat_import_no_structlog(home: Path, tmp_path: Path, name: str) -> None:
    """The host and its plugins work although the import of the package would end them."""
    environment = {"PYTHONPATH": import_path(tmp_path, name), "DOCKER_HOST": "unix:///nowhere.sock"}
    with serving(home, **environment) as process:
        assert first_line(process).startswith("ready in ")
        code, errors, _ = stop(process)
    assert (code, "was imported" in errors) == (0, False)
    done = ncl(home, "chat", "hello", environment=environment)
    assert (done.returncode, "was imported" in done.stderr) == (0, False)


@pytest.mark.parametrize("name", ["structlog", "rich"])
def test_runner_imports_no_structlog(tmp_path: Path, name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": import_path(tmp_path, name)}
    command = [
        sys.executable,
        "-c",
        "import nanoclaw_runner.__main__, nanoclaw_runner.plugins as p; p.load_installed()",
    ]
    subprocess.run(command, env=environment, check=True)


@pytest.mark.parametrize(
    ("words", "is_imported"),
    [
        (["logs"], True),
        (["logs", "--json"], False),
        (["--version"], False),
        (["help"], False),
        (["status"], False),
        (["plugins"], False),
        (["complete", "--", "logs", ""], False),
    ],
)
def test_only_logs_imports_structlog(home: Path, tmp_path: Path, words: list[str], is_imported: bool) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "nanoclaw.log").write_text("a line\n")
    environment = {**os.environ, "PYTHONPATH": import_path(tmp_path, "structlog")}
    command = [*NCL, "--home", str(home), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ("structlog was imported" in done.stderr) == is_imported


def test_every_part_of_structlog_imports_rich(tmp_path: Path) -> None:
    """The reason why the host does not use structlog.

    If this fails, read decision 0017 again.
    """
    environment = {**os.environ, "PYTHONPATH": import_path(tmp_path, "rich")}
    command = [sys.executable, "-c", "import structlog.contextvars"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "rich was imported" in done.stderr
