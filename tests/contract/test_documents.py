"""The documents match the code: generated parts are current, examples run, and named things exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
import pytest
from attrs import fields, frozen
from checkout import ROOT
from nanoclaw_wire import session_files
from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.frames import Code

import nanoclaw_core
from nanoclaw_core import Action, Channel, Provider, SandboxRequirements, Secret, Verb
from nanoclaw_core.plugins import Plugins

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
OF_PARTS = ("cli/README.md", "container/*/README.md", "plugins/*/*/README.md", "tests/*/README.md")
READMES = [path for pattern in OF_PARTS for path in ROOT.glob(pattern)]
WIDTH = 120  # the width of the code
WRITTEN = [page for page in PAGES if page.name not in ("hooks.md", "schema.md", "settings.md", "verbs.md")]
EXAMPLES = sorted((DOCS / "examples").iterdir())
SHOWN = [path for path in (DOCS / "examples").glob("*/src/*/*.py") if path.name != "__init__.py"]
SHOWN += [DOCS / "examples" / "nanoclaw-channel-ntfy" / "pyproject.toml"]
TESTED = ("tests/**/*.py", "cli/tests/*.py", "container/*/tests/*.py", "plugins/*/*/tests/*.py", "docs/**/*.py")
CONTRACTS = ("nanoclaw_core/testing/*.py",)
TESTS = "\n".join(path.read_text(encoding="utf-8") for pattern in TESTED + CONTRACTS for path in ROOT.glob(pattern))
CITING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]  # and the Python files and documents below these folders
CITING += [
    path
    for folder in ("nanoclaw_core", "cli", "container", "plugins", "tests", "docs", "tools")
    for path in sorted((ROOT / folder).rglob("*.*"))
    if path.suffix in (".py", ".md") and path != DOCS / "known-defects.md"
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
written = pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def code_words(page: Path) -> Iterator[str]:
    """Yield the texts in backticks within the prose."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", prose)


def test_generated_documents_are_current():
    command = [sys.executable, ROOT / "tools" / "generate_docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_settings_page_has_bounds_of_each_number():
    """The page shows the rules of the settings classes of the core and of all plugins."""
    numbers = re.findall(r"^\| `(\w+)` \| `(?:int|float|list\[float\])\b(.*)", text_of(DOCS / "settings.md"), re.M)
    assert len(numbers) > 20
    unbounded = [name for name, rest in numbers if "ust be from " not in rest]
    assert unbounded == ["run_as"]  # the process runtime checks this user of the machine


@pages
def test_page_links_exist(page: Path):
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page))]
    local = [link for link in links if link and not link.startswith(("http://", "https://"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@written
def test_page_names_existing_files(page: Path):
    places = (ROOT, page.parent, DOCS, *EXAMPLES)
    named = [word for word in code_words(page) if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|md|toml)", word)]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@written
def test_page_names_existing_tests(page: Path):
    named = {word for word in code_words(page) if re.fullmatch(r"test_\w+", word)}
    assert sorted(name for name in named if f"def {name}(" not in TESTS) == []


def cited(*patterns: str) -> set[int]:
    """Return the numbers in the code, the tests and the documents that match one of the patterns."""
    texts = [text_of(path) for path in CITING]
    return {int(number) for pattern in patterns for text in texts for number in re.findall(pattern, text)}


def test_cited_defects_are_listed():
    """A defect number must lead to its story, not to a list outside this repository."""
    numbers = [int(number) for number in re.findall(r"^\| ⚠(\d+) \|", text_of(DOCS / "known-defects.md"), re.MULTILINE)]
    assert numbers == sorted(set(numbers))
    assert sorted(cited(r"⚠ ?(\d+)", r"defect\(number=(\d+)\)") - set(numbers)) == []


def test_cited_invariants_are_listed():
    numbers = {int(number) for number in re.findall(r"^\| I(\d+) \|", text_of(DOCS / "architecture.md"), re.MULTILINE)}
    assert sorted(cited(r"\bI(\d{1,2})\b", r"invariant\(number=(\d+)\)") - numbers) == []


@pytest.mark.parametrize("page", [*WRITTEN, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_no_wider_than_code(page: Path):
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in prose.splitlines() if len(line) > WIDTH and not line.startswith("|")] == []


def test_readme_links_every_page():
    readme = text_of(ROOT / "README.md")
    assert [page.name for page in sorted(DOCS.glob("*.md")) if f"(docs/{page.name})" not in readme] == []


def test_embedding_example_is_shown_as_it_is_run():
    assert text_of(ROOT / "tests" / "core" / "embedding_example.py") in blocks(DOCS / "embedding.md")


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_example_plugin_is_shown_as_it_is_run(path: Path):
    page = DOCS / "writing-a-plugin.md"
    assert text_of(path) in blocks(page) + blocks(page, "toml")


@frozen
class Stub:
    """Stands for a class that an example leaves out."""

    api_key: Secret = Secret()


def as_plugin(source: str) -> ModuleType:
    """Execute an example as a plugin's module."""
    module = ModuleType("example")
    vars(module).update({name: getattr(nanoclaw_core, name) for name in nanoclaw_core.__all__})
    names: dict[str, Any] = {"Any": Any, "Iterable": Iterable, "Mapping": Mapping, "Sequence": Sequence}
    vars(module).update(names | {"Settings": Stub, "NtfyAdapter": Stub})
    exec(compile(source, "example", "exec"), vars(module))
    return module


SNIPPETS = [
    block
    for page in (DOCS / "hooks.md", DOCS / "writing-a-plugin.md")
    for block in blocks(page)
    if "@hookimpl" in block
]
COLLECTED = {
    "nanoclaw_channels": Channel,
    "nanoclaw_providers": Provider,
    "nanoclaw_sandbox_requirements": SandboxRequirements,
    "nanoclaw_actions": Action,
    "nanoclaw_verbs": Verb,
}


@pytest.mark.parametrize("source", [block for block in SNIPPETS if block not in map(text_of, SHOWN)])
def test_hook_example_contributes_to_its_hook(source: str):
    plugins = Plugins()
    plugins.add(as_plugin(source), name="example")
    hooks = re.findall(r"def (nanoclaw_\w+)\(", source)
    assert hooks
    assert [hook for hook in hooks if not plugins.collect(hook, COLLECTED[hook])] == []
    assert [report.reason for report in plugins.reports()] == [""]


def test_provider_example_names_its_upstream_and_missing_key():
    (source,) = [block for block in SNIPPETS if "def upstreams" in block]
    module = as_plugin(source)
    (without,), (with_key,) = module.upstreams(Stub(), {}), module.upstreams(Stub(Secret("k")), {})
    assert "set YOURS_API_KEY" in without.missing
    assert (with_key.missing, with_key.headers) == (None, {"authorization": "Bearer k"})


@pytest.mark.parametrize("schema", [session_files.INBOUND_SCHEMA, session_files.OUTBOUND_SCHEMA])
def test_wire_page_explains_every_session_file_column(schema: str):
    page = text_of(DOCS / "wire.md")
    db = apsw.Connection(":memory:")
    db.execute(schema)
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        columns = [column for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        assert [name for name in (*columns, table) if not re.search(rf"[`*]{name}[`*]", page)] == []


def test_wire_page_explains_every_key_of_the_runner_config():
    page = text_of(DOCS / "wire.md").partition("## config.json")[2]
    assert [field.name for field in fields(RunnerConfig) if f"`{field.name}`" not in page] == []


def test_wire_page_names_every_frame_error_code():
    page = text_of(DOCS / "wire.md").partition("## Frames")[2]
    assert [code.value for code in Code if f"`{code.value}`" not in page] == []
