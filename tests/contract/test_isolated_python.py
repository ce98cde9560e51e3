"""The launcher and the tools start every Python without the current directory, where agents may leave modules."""

from __future__ import annotations

import re

import pytest
from checkout import ROOT

SHELL = [ROOT / "nanoclaw", ROOT / ".ci" / "run"]
FOLDERS = ("tools", "tests/benchmarks", "tests/engine")
PYTHON = [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/*.py"))]
# An interpreter and the next word, if that is an option or a path. `-I` isolates; `-P` leaves out only the current
# directory, for programs that need their own PYTHONPATH. `--version` runs no code.
IN_SHELL = re.compile(r"""(?:python3?|"\$(?:candidate|maker|1)"|/python")[ \t]+(?!-I |--version)(?=[-"/$]).*""")
IN_PYTHON = re.compile(r"""(?<!"--python", )(?:sys\.executable|PYTHON|\bpython), (?!"-[IP]")(?=["\w*]).*""")


def test_shell_starts_python_isolated():
    """The launcher and `.ci/run` pass -I."""
    assert [match for path in SHELL for match in IN_SHELL.findall(path.read_text(encoding="utf-8"))] == []


def test_tools_start_python_isolated():
    """The tools, the benchmarks and the tests' engine pass -I or -P."""
    assert [match for path in PYTHON for match in IN_PYTHON.findall(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "line",
    [
        "python3 -c 'import venv'",
        '"$candidate" -c "$needed"',
        '"$maker" "$root/tools/environment.py" "$purpose"',
        'exec "$environment/bin/python" -m benchmarks "$@"',
        'python3 "$root/tests/engine/docker_engine.py" install',
    ],
)
def test_check_of_shell_finds_an_unisolated_python(line: str):
    """Each line was once in the launcher or in `.ci/run`."""
    assert IN_SHELL.search(line)


@pytest.mark.parametrize(
    "line",
    [
        'subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT])',
        'run("getting uv", [PYTHON, "-m", "pip", "install", "uv"])',
        '[*command, sys.executable, "-m", "benchmarks.syncs"]',
        '[sys.executable, ROOT / "tools" / "generate_docs.py"]',
    ],
)
def test_check_of_tools_finds_an_unisolated_python(line: str):
    """Each line was once in a tool, or could be."""
    assert IN_PYTHON.search(line)
