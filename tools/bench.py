"""`./nanoclaw bench`: runs `tests/benchmarks`.

The launcher starts Python isolated (`-I`), so this script adds the directory that holds the package `benchmarks`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"

if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    runpy.run_module("benchmarks", run_name="__main__", alter_sys=True)
