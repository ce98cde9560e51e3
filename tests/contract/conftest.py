"""Fixtures of the tests that install wheels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ALL, ROOT

EXAMPLE = ROOT / "docs" / "examples" / "nanoclaw-channel-ntfy"
# One process for all: the start of hatchling takes longer than a build.
BUILD = (
    "import os, sys\nfrom hatchling.build import build_wheel\nfor folder in sys.argv[2:]:\n"
    "    os.chdir(folder)\n    build_wheel(sys.argv[1])\n"
)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one wheel of each distribution of the checkout and of the example channel."""
    wheels = tmp_path_factory.mktemp("wheels")
    folders = [*(str(distribution.folder) for distribution in ALL), str(EXAMPLE)]
    subprocess.run([sys.executable, "-c", BUILD, str(wheels), *folders], check=True, capture_output=True)
    return wheels
