"""`./nanoclaw test`: runs all checks of this checkout.

With arguments it runs only pytest, with these arguments.

`./nanoclaw test --long` also runs the tests that take many minutes; `./nanoclaw test --long PATH` runs those of a path.
A failed check does not stop the others. The last line names the failed checks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LONG = "--long"
CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "import contracts": ["lint-imports", "--no-cache"],
}


def main(pytest_arguments: list[str]) -> int:
    """Run the checks and return the exit code, 0 if all passed."""
    is_whole = set(pytest_arguments) <= {LONG}
    checks = dict(CHECKS) if is_whole else {}
    # One process more than processors: the tests of the Docker engine mostly wait for it.
    parallel = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadgroup"] if is_whole else []
    checks["tests"] = ["pytest", *parallel, *pytest_arguments]
    failed = [name for name, command in checks.items() if not passes(name, command)]
    print(f"\n{'failed: ' + ', '.join(failed) if failed else 'all checks passed'}", flush=True)
    return 1 if failed else 0


def passes(name: str, command: list[str]) -> bool:
    """Run one check, print its output, and return whether it passed."""
    print(f"── {name}", flush=True)
    began = time.monotonic()
    # The environment's own tools come first on the path, because tests start `ncl` and others by name.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    status = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, env=environment, check=False).returncode
    print(
        f"── {name}: {'passed' if status == 0 else f'failed ({status})'} in {time.monotonic() - began:.1f} s",
        flush=True,
    )
    return status == 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
