"""The host's files that a sandbox needs to run our Python: found from metadata, without importing them."""

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
from nanoclaw_wire.names import RUNNER_GROUP

BASE_PACKAGES = ("nanoclaw_wire", "nanoclaw_client", "nanoclaw_runner")


@frozen(kw_only=True)
class Interpreter:
    """A Python interpreter, and the directories that it needs in a sandbox.

    Args:
        executable: The path with which this process was started. In a virtual environment it is the link in `prefix`,
            because Python finds the environment by it.
        directories: The directories to show read-only, outermost first and none below another.
        packages: The directories of the runner-side packages.
    """

    executable: Path
    directories: tuple[Path, ...]
    packages: tuple[Path, ...]


def current_interpreter() -> Interpreter:
    """Return this process's Python, with the runner and the runner halves of the installed plugins."""
    packages = tuple(_package_directories(BASE_PACKAGES + tuple(_plugin_packages())))
    prefixes = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)]
    return Interpreter(
        # Python keeps a `..` in the path that started it, and the sandbox lacks the directory before the `..`.
        executable=Path(os.path.normpath(sys.executable)),
        directories=outermost([*prefixes, *packages]),
        packages=packages,
    )


def outermost(directories: Iterable[Path]) -> tuple[Path, ...]:
    """Return the directories, shortest first, without those below another or below /usr, which every sandbox has."""
    kept: list[Path] = []
    for directory in sorted(set(directories), key=lambda path: (len(path.parts), path)):
        if not any(directory.is_relative_to(other) for other in (Path("/usr"), *kept)):
            kept.append(directory)
    return tuple(kept)


def compile_packages(packages: Iterable[Path]) -> None:
    """Write the bytecode of the runner-side packages.

    The host never imports them, and a sandbox cannot write them. Without bytecode every start would compile them.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        for package in packages:
            compileall.compile_dir(package, quiet=2, maxlevels=5)


def _plugin_packages() -> Iterator[str]:
    for entry_point in entry_points(group=RUNNER_GROUP):
        yield entry_point.module.partition(".")[0]


def _package_directories(names: Iterable[str]) -> Iterator[Path]:
    for name in dict.fromkeys(names):
        spec = importlib.util.find_spec(name)  # imports nothing, because the name is a top-level one
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(location)
