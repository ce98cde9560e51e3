"""Limits for the sizes of the core, of each file and of each function."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from checkout import ROOT

BUDGET_LINES = 6_500
FILE_LINES = 400
FUNCTION_LINES = 50
# Without the test kit, which ships with the core but does not run in a host.
CORE = sorted(path for path in (ROOT / "nanoclaw_core").rglob("*.py") if "testing" not in path.parts)
SHIPPED = sorted(
    path
    for pattern in (
        "nanoclaw_core/**/*.py",
        "cli/src/**/*.py",
        "container/*/src/**/*.py",
        "plugins/*/*/src/**/*.py",
        "tools/*.py",
    )
    for path in ROOT.glob(pattern)
)
TESTS = ("tests/**/*.py", "*/tests/*.py", "container/*/tests/*.py", "plugins/*/*/tests/*.py", "docs/examples/**/*.py")
FILES = {*SHIPPED, ROOT / "conftest.py", *(path for pattern in TESTS for path in ROOT.glob(pattern))}
NOISE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(path: Path) -> int:
    """Count the lines of a file that are neither blank nor comment nor docstring."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOISE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def long_functions(path: Path) -> list[str]:
    """Return the functions of a file that are longer than a screen."""
    return [
        f"{name(path)}: {node.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    ]


def test_core_keeps_its_budget():
    assert sum(map(code_lines, CORE)) <= BUDGET_LINES


def test_files_are_short():
    assert {name(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES} == set()


def test_functions_are_short():
    assert [function for path in SHIPPED for function in long_functions(path)] == []
