"""What of the host's files a sandbox needs to run our Python: found from metadata, without importing any of it."""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

from attrs import frozen

RUNNER_GROUP = "nanoclaw.runner"
ALWAYS = ("nanoclaw_wire", "nanoclaw_client", "nanoclaw_runner")


@frozen(kw_only=True)
class Interpreter:
    """A Python that can be run elsewhere when these directories are there.

    Args:
        executable: As this process was started; a link into `prefix` keeps a virtual environment in force.
        directories: What to show read-only, outermost first and none below another.
        packages: The directories of the runner-side packages.
    """

    executable: Path
    directories: tuple[Path, ...]
    packages: tuple[Path, ...]


def this_interpreter() -> Interpreter:
    """Describe the Python that runs us, with the runner and the runner halves of the installed plugins."""
    packages = tuple(_package_directories(ALWAYS + tuple(_plugin_packages())))
    prefixes = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)]
    return Interpreter(
        # Called by a path with `..` in it, Python keeps that path, and the sandbox has no such directory to go up from.
        executable=Path(os.path.normpath(sys.executable)),
        directories=outermost([*prefixes, *packages]),
        packages=packages,
    )


def outermost(directories: Iterable[Path]) -> tuple[Path, ...]:
    """Drop what lies in another one, or in /usr, which a sandbox has anyway; shortest first."""
    kept: list[Path] = []
    for directory in sorted(set(directories), key=lambda path: (len(path.parts), path)):
        if not any(directory.is_relative_to(other) for other in (Path("/usr"), *kept)):
            kept.append(directory)
    return tuple(kept)


def compile_packages(packages: Iterable[Path]) -> None:
    """Write the bytecode of the runner-side packages.

    The host never imports them and a sandbox sees them read-only: otherwise every start would compile them anew.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        for package in packages:
            compileall.compile_dir(package, quiet=2, maxlevels=5)


def _plugin_packages() -> Iterator[str]:
    for entry_point in entry_points(group=RUNNER_GROUP):
        yield entry_point.module.partition(".")[0]


def _package_directories(names: Iterable[str]) -> Iterator[Path]:
    for name in dict.fromkeys(names):
        found = importlib.util.find_spec(name)  # a top-level name: nothing is imported
        for location in (found.submodule_search_locations or ()) if found else ():
            yield Path(location)
