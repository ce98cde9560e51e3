"""Plain English: the part of the rules in CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

# Words and openings that hide the subject of a sentence, so that it must be read twice.
HIDDEN_SUBJECT = re.compile(
    r"\b(whoever|nobody|somebody|so many|mend(s|ed|ing)?|give back|let go of|"
    r"what (is|was|are|were|came|comes|has|had|waits|runs|stands))\b"
    r"|\bwhere (there|nothing|nobody|it|that|none|one)\b",
    re.IGNORECASE,
)
QUESTION = re.compile(r"(what|who|where|why|how|which|whether)\b", re.IGNORECASE)
AREA = re.compile(r"[a-z][a-z0-9, -]*: \S")
MAX_NAME, MAX_SUBJECT, COMMITS = 60, 60, 5
FOLDERS = ("nanoclaw_core", "cli", "container", "plugins", "tests", "tools", "docs/examples")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    + [path for folder in ("cli", "container", "plugins") for path in (ROOT / folder).rglob("README.md")]
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each docstring of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def hidden_subjects(text: str) -> list[str]:
    """Return the words of a text that hide a subject.

    Code and quotations do not count.
    """
    prose = re.sub(r"```.*?```|`[^`\n]*`|\"[^\"\n]*\"|“[^”\n]*”", "", text, flags=re.DOTALL)
    return [match.group() for match in HIDDEN_SUBJECT.finditer(prose)]


def test_docstrings_name_their_subjects():
    assert [
        (place, words) for path in SOURCES for place, text in docstrings(path) if (words := hidden_subjects(text))
    ] == []


def test_docstrings_begin_with_no_question():
    assert [place for path in SOURCES for place, text in docstrings(path) if QUESTION.match(text)] == []


def test_pages_name_their_subjects():
    found = {str(path.relative_to(ROOT)): hidden_subjects(path.read_text(encoding="utf-8")) for path in PAGES}
    assert {page: words for page, words in found.items() if words} == {}


def test_test_names_are_short():
    names = {
        name
        for path in SOURCES
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert sorted(name for name in names if len(name) > MAX_NAME) == []


def test_commits_have_an_area_and_a_reason():
    """Check the last commits; a checkout without its history has none."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git")
    command = ["git", "log", f"-{COMMITS}", "--no-merges", "--format=%s%x00%b%x01"]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commits = [entry.strip("\n").split("\0") for entry in log.split("\x01") if "\0" in entry]
    poor = [
        subject
        for subject, body in commits
        if len(subject) > MAX_SUBJECT or not AREA.match(subject) or not body.strip() or hidden_subjects(subject)
    ]
    assert poor == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Return what is left.", ["what is"]),
        ("None where there is none.", ["where there"]),
        ("Mend the file for whoever asks.", ["Mend", "whoever"]),
        ('The answer "nobody" and `what is` stay.', []),
        ("Return the rest.", []),
    ],
)
def test_hidden_subjects_are_found(text: str, words: list[str]):
    assert hidden_subjects(text) == words
