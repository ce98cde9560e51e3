"""Creates the environment of `./nanoclaw`: `.nanoclaw-env` next to it.

All of this checkout is in it in editable mode.

It uses only the standard library, because it runs before any installation. It writes its stamp files last, so that the
next run continues an interrupted one. A lock on the checkout, which ends with the process, excludes parallel runs.

    python3 -I tools/environment.py run|test CHECKSUM
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".nanoclaw-env"
PYTHON = ENVIRONMENT / "bin" / "python"
LOG = ENVIRONMENT / "install.log"
PURPOSES = ("run", "test")
EXTRAS = ("default", "host", "runner")
# uv reads a `uv.toml` of its project, by default of the current directory, which could name another index.
UV_OPTIONS = ("--project", ROOT)
# uv reads neither pip's variables nor pip's files, so pip's variables are passed to it under its own names.
UV_NAMES = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}


class CannotMake(Exception):
    """The environment cannot be created; the message has the reason and the remedy."""


def main(purpose: str, declared: str) -> int:
    """Create or update an environment that is outdated for a purpose.

    Return the exit code.
    """
    try:
        with locked(ROOT):
            if not is_made(purpose, declared):
                make(purpose, declared)
    except CannotMake as error:
        print(f"nanoclaw: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"nanoclaw: {error.filename or ENVIRONMENT}: {error.strerror}; is {ROOT} yours to write?", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\nnanoclaw: interrupted; the next run continues", file=sys.stderr)
        return 130
    return 0


def make(purpose: str, declared: str) -> None:
    """Create, update or repair the environment, and record the purposes that it fits.

    Raises:
        CannotMake: A requirement is missing; the next run tries again.
    """
    began = time.monotonic()
    stamps = [ENVIRONMENT / f"made-for-{name}" for name in PURPOSES]
    is_working, was_complete = works(), any(stamp.exists() for stamp in stamps)
    for stamp in stamps:
        stamp.unlink(missing_ok=True)
    progress = "updating {}" if is_working and was_complete else "setting up {} (once; it takes a minute or two)"
    print(f"nanoclaw: {progress.format(ENVIRONMENT)}", file=sys.stderr)
    if not is_working:
        create()
    requirements = needed(purpose)
    uv = find_uv()
    if uv is None or not install_with_uv(uv, requirements):
        install_with_pip(requirements)
    made_for = f"{declared} {ROOT} {os.path.realpath(PYTHON)}"
    for stamp in stamps[: PURPOSES.index(purpose) + 1]:  # an environment for tests fits all purposes
        stamp.write_text(made_for + "\n")
    print(f"nanoclaw: ready after {time.monotonic() - began:.0f} s", file=sys.stderr)


def is_made(purpose: str, declared: str) -> bool:
    """Return whether the environment is up to date for a purpose."""
    try:
        stamp = (ENVIRONMENT / f"made-for-{purpose}").read_text()
    except FileNotFoundError:
        return False
    return stamp == f"{declared} {ROOT} {os.path.realpath(PYTHON)}\n" and works()


def works() -> bool:
    """Return whether the environment's Python runs."""
    try:
        done = subprocess.run(
            [PYTHON, "-I", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == str(ENVIRONMENT)


def create() -> None:
    """Create an empty environment in place of the existing one.

    Raises:
        CannotMake: This Python has no venv, and uv is missing too.
    """
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    ENVIRONMENT.mkdir(exist_ok=True)  # first, so that missing permission is not reported as a missing venv
    done = subprocess.run(
        [sys.executable, "-I", "-m", "venv", ENVIRONMENT], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return
    uv = shutil.which("uv")
    if uv is not None:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        by_uv = [uv, *UV_OPTIONS, "venv", "--quiet", "--seed", "--python", sys.executable, ENVIRONMENT]
        if subprocess.run(by_uv, env=uv_environment(), check=False).returncode == 0:
            return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    reason = " ".join((done.stdout + done.stderr).split())[:300]
    raise CannotMake(
        f"{sys.executable} cannot create an environment: {reason}\n"
        "Install its venv module (Debian, Ubuntu: apt install python3-venv), or uv (https://docs.astral.sh/uv/)."
    )


def needed(purpose: str) -> list[str]:
    """Return the arguments that name the checkout's distributions.

    For tests they also name the test tools.
    """
    arguments: list[str] = []
    for path in (ROOT, ROOT / "cli", *sorted(ROOT.glob("container/*")), *sorted(ROOT.glob("plugins/*/*"))):
        if not (path / "pyproject.toml").exists():
            continue
        declared = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
        selected = EXTRAS if purpose == "run" else (*EXTRAS, "testing")
        extras = [name for name in declared["project"].get("optional-dependencies", {}) if name in selected]
        arguments += ["-e", f"{path}[{','.join(extras)}]" if extras else str(path)]
        if path == ROOT and purpose == "test":
            arguments += declared["dependency-groups"]["test"]
    return arguments


def find_uv() -> str | None:
    """Return the path of uv: from PATH, or installed by pip into the environment.

    None if neither works.
    """
    on_path = shutil.which("uv")
    if on_path is not None:
        return on_path
    own = ENVIRONMENT / "bin" / "uv"
    if not own.exists():
        run("getting uv", [PYTHON, "-I", "-m", "pip", "install", "--progress-bar=off", "uv"], dict(os.environ))
    return str(own) if own.exists() else None


def install_with_uv(uv: str, requirements: Sequence[str]) -> bool:
    """Install everything with uv, and return whether that worked."""
    command = [uv, *UV_OPTIONS, "pip", "install", "--python", PYTHON, *requirements]
    if run("installing", command, uv_environment()) == 0:
        return True
    print("nanoclaw: uv could not install everything; trying pip", file=sys.stderr)
    return False


def install_with_pip(requirements: Sequence[str]) -> None:
    """Install everything with pip.

    Raises:
        CannotMake: pip failed; the message ends with the last lines of its output.
    """
    pip = [PYTHON, "-I", "-m", "pip", "install", "--progress-bar=off", "--no-input"]
    # One build backend for all distributions, instead of a new build environment for each.
    for command in ([*pip, "hatchling>=1.27", "editables"], [*pip, "--no-build-isolation", *requirements]):
        if run("installing", command, dict(os.environ)) != 0:
            output = LOG.read_text(errors="replace").splitlines()
            last = "\n".join([line for line in output if not line.startswith("WARNING: Retrying")][-12:])
            raise CannotMake(f"pip could not install everything; can it reach an index? {LOG} ends with:\n{last}")


def uv_environment() -> dict[str, str]:
    """Return the environment for uv, with pip's settings.

    It has no cache if its directory is not writable.
    """
    environment = dict(os.environ)
    for pip_name, uv_name in UV_NAMES.items():
        if pip_name in environment:
            environment.setdefault(uv_name, environment[pip_name])
    cache = environment.get("UV_CACHE_DIR") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/uv"
    try:
        Path(cache).expanduser().mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        environment["UV_NO_CACHE"] = "1"
    return environment


def run(activity: str, command: Sequence[str | Path], environment: dict[str, str]) -> int:
    """Run a command and return its status.

    Append its output to the log, and show the last line on a terminal.
    """
    shows = sys.stderr.isatty()
    with (
        LOG.open("ab") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if shows:
                width = shutil.get_terminal_size().columns - 1
                text = f"nanoclaw: {activity}: {line.decode(errors='replace').strip()}"[:width]
                print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    if shows:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return process.returncode


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock on a directory.

    If another process holds it, print that and wait.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("nanoclaw: another run is setting up the environment; waiting for it", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PURPOSES:
        sys.exit("usage: environment.py run|test CHECKSUM")
    sys.exit(main(sys.argv[1], sys.argv[2]))
