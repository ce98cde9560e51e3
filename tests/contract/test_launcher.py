"""`./nanoclaw` in a copy of the checkout: it makes its own environment, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ALL, ROOT

VERSION = "nanoclaw 0.1.0\n"


def copy_to(folder: Path) -> Path:
    """Copy what an installation needs of the checkout."""
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
    """Return an environment in which nothing of this one is found by accident."""
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != own)
    misleading = ("PYTHON", "VIRTUAL_ENV", "NANOCLAW")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(misleading)}
    return kept | {"PATH": path, "NANOCLAW_PYTHON": os.path.realpath(sys.executable)} | more


def run(program: Path, *arguments: str, directory: Path = Path("/"), **more: str) -> subprocess.CompletedProcess[str]:
    command, environment = [program, *arguments], clean(**more)
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy whose environment two runs at once have made."""
    folder = copy_to(tmp_path_factory.mktemp("check out"))
    command = [folder / "nanoclaw", "--version"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd="/", env=clean(), **pipes) for _ in range(2)]
    said = [process.communicate(timeout=600) for process in running]
    assert [out for out, _ in said] == [VERSION, VERSION], said
    assert sum("ready after" in errors for _, errors in said) == 1, said
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy that nobody has run yet."""
    folder = copy_to(tmp_path / "checkout")
    yield folder
    shutil.rmtree(folder)  # half a gigabyte, which pytest would keep for a while


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A directory with modules that leave a file `ran-…` beside them when they are imported."""
    directory = tmp_path / "planted"
    directory.mkdir()
    for name in ("venv", "ensurepip", "pip", "json", "shutil", "subprocess", "tomllib", "nanoclaw_cli"):
        (directory / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()\nraise SystemExit(9)\n")
    return directory


def executed(planted: Path) -> list[str]:
    """Return the planted modules that were imported."""
    return sorted(path.name for path in planted.glob("*.ran"))


@pytest.mark.slow
def test_a_later_run_prints_nothing_of_its_own(made: Path):
    done = run(made / "nanoclaw", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


@pytest.mark.slow
def test_it_works_through_a_link_from_elsewhere(made: Path, tmp_path: Path):
    (tmp_path / "first").symlink_to(made / "nanoclaw")
    (tmp_path / "second").symlink_to("first")
    done = run(tmp_path / "second", "--version")
    assert (done.stdout, done.stderr) == (VERSION, "")


@pytest.mark.slow
def test_an_answer_comes_and_the_exit_code_is_that_of_ncl(made: Path, tmp_path: Path):
    home = str(tmp_path / "home")
    answered = run(made / "nanoclaw", "--home", home, "chat", "hello")
    assert answered.returncode == 0, answered.stderr
    assert "said: hello" in answered.stdout
    assert run(made / "nanoclaw", "--home", home, "groups", "list").returncode == 2


@pytest.mark.slow
def test_what_is_declared_anew_is_an_update_and_no_second_setting_up(made: Path):
    with (made / "cli" / "pyproject.toml").open("a") as declared:
        declared.write("# another one\n")
    done = run(made / "nanoclaw", "--version")
    assert (done.returncode, done.stdout) == (0, VERSION)
    assert done.stderr.startswith(f"nanoclaw: updating {made / '.nanoclaw-env'}\n")


@pytest.mark.slow
def test_an_interrupted_or_broken_installation_is_mended(made: Path):
    (made / ".nanoclaw-env" / "bin" / "ncl").unlink()
    shutil.rmtree(next((made / ".nanoclaw-env").glob("lib/python*/site-packages/click")))
    (made / ".nanoclaw-env" / "bin" / "python").unlink()
    done = run(made / "nanoclaw", "--version", HOME="/proc/nowhere")
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr


@pytest.mark.slow
def test_launcher_obeys_no_uv_toml_of_another_directory(made: Path, planted: Path):
    """An index that a file in the current directory names supplies nothing that is installed."""
    (planted / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\nno-cache = true\n')
    with (made / "cli" / "pyproject.toml").open("a") as declared:
        declared.write("# changed\n")
    done = run(made / "nanoclaw", "--version", directory=planted)
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
    assert "going on with pip" not in done.stderr
    assert executed(planted) == []


@pytest.mark.slow
def test_launcher_runs_ncl_without_the_current_directory(made: Path, planted: Path):
    """An empty part of PYTHONPATH means the current directory, which supplies no module all the same."""
    done = run(made / "nanoclaw", "--version", directory=planted, PYTHONPATH=":/nowhere")
    assert (done.returncode, done.stdout, executed(planted)) == (0, VERSION, [])


@pytest.mark.slow
def test_without_a_usable_uv_pip_installs(checkout: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "uv").chmod(0o755)
    done = run(checkout / "nanoclaw", "--version", PATH=f"{tmp_path / 'bin'}{os.pathsep}{clean()['PATH']}")
    assert (done.returncode, done.stdout) == (0, VERSION), done.stderr
    assert "going on with pip" in done.stderr


def test_a_python_that_is_too_old_is_said_with_what_to_do(checkout: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat", "cksum", "readlink"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "bin" / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    done = run(checkout / "nanoclaw", "--version", PATH=str(tmp_path / "bin"), NANOCLAW_PYTHON="python3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs Python 3.11 or newer, with venv; here python3 is: Python 3.9.2" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_a_python_that_was_named_is_not_replaced_by_another(checkout: Path):
    done = run(checkout / "nanoclaw", "--version", NANOCLAW_PYTHON="/no/such/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "here /no/such/python is: not there, or no Python" in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_checkout_that_is_read_only_is_said(checkout: Path):
    checkout.chmod(0o500)
    done = run(checkout / "nanoclaw", "--version")
    checkout.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Permission denied; is {checkout} yours to write?" in done.stderr


def test_no_index_at_all_is_said_with_what_pip_said_last(checkout: Path, tmp_path: Path):
    nothing = str(tmp_path / "nothing")
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": nothing, "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1"}
    done = run(checkout / "nanoclaw", "--version", UV_NO_CACHE="1", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "can it reach an index?" in done.stderr
    assert "Traceback" not in done.stderr


def test_launcher_imports_nothing_of_the_current_directory(checkout: Path, planted: Path):
    """A `venv.py` or `pip.py` that an agent left in the current directory is not executed by making an environment."""
    environment = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    done = run(checkout / "nanoclaw", "--version", directory=planted, **environment)
    assert executed(planted) == []
    assert "can it reach an index?" in done.stderr  # so venv and pip have run
