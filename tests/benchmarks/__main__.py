"""`./nanoclaw bench`: measure, print the table, write JSON."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import docker_sandboxes, footprint, idle_cost, message_path, sandbox_ncl, syncs, targets, whole_processes
from .figures import Figure, as_json, table
from .machine_baseline import commit_ms, python_ms


def main() -> int:
    """Measure the chosen parts.

    Return 0 even if a target is missed, because a figure is no verdict.
    """
    parser = argparse.ArgumentParser(prog="./nanoclaw bench", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts to measure: " + ", ".join(PARTS))
    parser.add_argument("--short", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure (default: the temporary one)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    work = Path(tempfile.mkdtemp(prefix="nanoclaw-bench-", dir=chosen.where))
    figures: list[Figure] = []
    try:
        machine = {"commit_ms": commit_ms(work / "machine_baseline"), "python_ms": python_ms()}
        for name in chosen.only or PARTS:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            figures += PARTS[name](work / name, 10 if chosen.short else 1)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(table(figures))
    system = f"{platform.machine()}, Python {platform.python_version()}"
    baseline = f"a commit {machine['commit_ms']:.2f} ms, 100 000 rounds of Python {machine['python_ms']:.1f} ms"
    print(f"\nthis machine: {system}, {baseline}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": machine, "figures": as_json(figures)}, indent=2) + "\n")
    return 0


def _delivering(home: Path, divisor: int) -> Iterator[Figure]:
    yield Figure(metric=targets.DELIVER_ONE, value=message_path.delivering(home / "one", 1, 500 // divisor * 2 or 50))
    yield Figure(
        metric=targets.DELIVER_MANY, value=message_path.delivering(home / "many", 50, 500 // divisor // 5 or 10)
    )


def _cold(home: Path, divisor: int) -> Iterator[Figure]:
    yield Figure(metric=targets.COLD_PROCESS, value=message_path.cold(home, "process", max(3, 15 // divisor)))


PARTS: dict[str, Callable[[Path, int], Iterator[Figure]]] = {
    "turns": lambda home, divisor: message_path.turns(home, 300 // divisor),
    "routing": lambda home, divisor: message_path.routing(home, 2_000 // divisor),
    "new-sessions": lambda home, divisor: message_path.new_sessions(home, 200 // divisor),
    "delivering": _delivering,
    "cold": _cold,
    "docker": lambda home, divisor: docker_sandboxes.containers(home, max(3, 15 // divisor)),
    "syncs": lambda home, _divisor: syncs.warm_message(home),
    "stopping": lambda home, _divisor: idle_cost.stopping(home),
    "idle": lambda home, divisor: idle_cost.idle(home, 100 // divisor, 1_000 // divisor),
    "idle-many": lambda home, divisor: idle_cost.idle_many(home, 1_000 // divisor),
    "growth": lambda home, divisor: idle_cost.growth(home, 10_000 // divisor),
    "ncl": lambda home, divisor: whole_processes.commands(home, max(3, 15 // divisor)),
    "ncl-sandbox_ncl": lambda home, divisor: sandbox_ncl.asking(home, max(5, 50 // divisor)),
    "plugins": lambda home, divisor: footprint.plugin_cost(home, max(3, 15 // divisor)),
    "size": lambda home, _divisor: footprint.size(home),
}

if __name__ == "__main__":
    sys.exit(main())
