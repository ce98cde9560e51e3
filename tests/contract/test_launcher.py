"""`./nanoclaw` in a copy of the checkout: it creates its own environment, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ALL, ROOT

pytestmark = pytest.mark.xdist_group("launcher")

VERSION = "nanoclaw 0.1.0\n"


def copy_to(folder: Path) -> Path:
    """Copy the files of the checkout that an installation needs."""
    ignored = shutil.ignore_patterns("__pycache__")
    for distribution in ALL:
        target = folder / distribution.folder.relative_to(ROOT)
        package = distribution.package_folder.relative_to(distribution.folder)
        shutil.copytree(distribution.package_folder, target / package, ignore=ignored)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(distribution.folder / name, target)
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=ignored)
    shutil.copy(ROOT / "nanoclaw", folder)
    return folder


def clean(**more: str) -> dict[str, str]:
    """Return environment variables by which no program finds this environment."""
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != own)
    removed = ("PYTHON", "VIRTUAL_ENV", "NANOCLAW")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    return kept | {"PATH": path, "NANOCLAW_PYTHON": os.path.realpath(sys.executable)} | more


def run(program: Path, *arguments: str, directory: Path = Path("/"), **more: str) -> subprocess.CompletedProcess[str]:
    command, environment = [program, *arguments], clean(**more)
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the checkout with an environment that two parallel runs have created."""
    folder = copy_to(tmp_path_factory.mktemp("check out"))
    command = [folder / "nanoclaw", "--version"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd="/", env=clean(), **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in running]
    assert [stdout for stdout, _ in outputs] == [VERSION, VERSION], outputs
    assert sum("ready after" in stderr for _, stderr in outputs) == 1, outputs
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of the checkout without an environment."""
    folder = copy_to(tmp_path / "checkout")
    yield folder
    shutil.rmtree(folder)  # half a gigabyte, which pytest would keep for three runs


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A directory with modules that leave a file `….ran` when they are imported."""
    directory = tmp_path / "planted"
    directory.mkdir()
    for name in ("venv", "ensurepip", "pip", "json", "shutil", "subprocess", "tomllib", "nanoclaw_cli"):
        (directory / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()\nraise SystemExit(9)\n")
    return directory


def executed(planted: Path) -> list[str]:
    """Return the planted modules that were imported."""
    return sorted(path.name for path in planted.glob("*.ran"))


@pytest.mark.slow
def test_launcher_prints_nothing_in_a_later_run(made: Path):
    done = run(made / "nanoclaw", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


@pytest.mark.slow
def test_launcher_works_through_links(made: Path, tmp_path: Path):
    (tmp_path / "first").symlink_to(made / "nanoclaw")
    (tmp_path / "second").symlink_to("first")
    done = run(tmp_path / "second", "--version")
    assert (done.stdout, done.stderr) == (VERSION, "")


@pytest.mark.slow
def test_launcher_returns_the_exit_code_of_ncl(made: Path, tmp_path: Path):
    home = str(tmp_path / "home")
    answered = run(made / "nanoclaw", "--home", home, "chat", "hello")
    assert answered.returncode == 0, answered.stderr
    assert "said: hello" in answered.stdout
    assert run(made / "nanoclaw", "--home", home, "groups", "list").returncode == 2


@pytest.mark.slow
def test_launcher_updates_after_a_changed_declaration(made: Path):
    with (made / "cli" / "pyproject.toml").open("a") as declared:
        declared.write("# another one\n")
    done = run(made / "nanoclaw", "--version")
    assert (done.returncode, done.stdout) == (0, VERSION)
    assert done.stderr.startswith(f"nanoclaw: updating {made / '.nanoclaw-env'}\n")


@pytest.mark.slow
def test_launcher_repairs_a_broken_installation(made: Path):
    (made / ".nanoclaw-env" / "bin" / "ncl").unlink()
    shutil.rmtree(next((made / ".nanoclaw-env").glob("lib/python*/site-packages/click")))
    (made / ".nanoclaw-env" / "bin" / "python").unlink()
    done = run(made / "nanoclaw", "--version", HOME="/proc/nowhere")
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr


@pytest.mark.slow
def test_launcher_obeys_no_uv_toml_of_another_directory(made: Path, planted: Path):
    """A `uv.toml` in the current directory must not choose the index."""
    (planted / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\nno-cache = true\n')
    with (made / "cli" / "pyproject.toml").open("a") as declared:
        declared.write("# changed\n")
    done = run(made / "nanoclaw", "--version", directory=planted)
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
    assert "trying pip" not in done.stderr
    assert executed(planted) == []


@pytest.mark.slow
def test_launcher_runs_ncl_without_the_current_directory(made: Path, planted: Path):
    """An empty part of PYTHONPATH means the current directory.

    Even so no module comes from there.
    """
    done = run(made / "nanoclaw", "--version", directory=planted, PYTHONPATH=":/nowhere")
    assert (done.returncode, done.stdout, executed(planted)) == (0, VERSION, [])


@pytest.mark.slow
def test_launcher_installs_with_pip_if_uv_fails(checkout: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "uv").chmod(0o755)
    done = run(checkout / "nanoclaw", "--version", PATH=f"{tmp_path / 'bin'}{os.pathsep}{clean()['PATH']}")
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
    assert "trying pip" in done.stderr


def test_launcher_reports_an_old_python_with_a_remedy(checkout: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat", "cksum", "readlink"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "bin" / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    done = run(checkout / "nanoclaw", "--version", PATH=str(tmp_path / "bin"), NANOCLAW_PYTHON="python3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or newer, with venv; here python3 is: Python 3.9.2" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_launcher_uses_only_the_named_python(checkout: Path):
    done = run(checkout / "nanoclaw", "--version", NANOCLAW_PYTHON="/no/such/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "here /no/such/python is: not there, or no Python" in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_launcher_reports_a_read_only_checkout(checkout: Path):
    checkout.chmod(0o500)
    done = run(checkout / "nanoclaw", "--version")
    checkout.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Permission denied; is {checkout} yours to write?" in done.stderr


def test_launcher_reports_an_unreachable_index(checkout: Path, tmp_path: Path):
    nothing = str(tmp_path / "nothing")
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": nothing, "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1"}
    done = run(checkout / "nanoclaw", "--version", UV_NO_CACHE="1", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "can it reach an index?" in done.stderr
    assert "Traceback" not in done.stderr


def test_launcher_imports_nothing_of_the_current_directory(checkout: Path, planted: Path):
    """An agent may have left a `venv.py` or `pip.py` in the current directory, which must not run."""
    environment = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    done = run(checkout / "nanoclaw", "--version", directory=planted, **environment)
    assert executed(planted) == []
    assert "can it reach an index?" in done.stderr  # so the real venv and pip have run
