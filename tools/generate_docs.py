"""Generates the documentation of hooks, tables, verbs and settings from the code.

    python tools/generate_docs.py            # docs/hooks.md, schema.md, verbs.md and settings.md
    python tools/generate_docs.py --check    # writes nothing; exits 1 and names the outdated documents

It reads only the distributions of this checkout. A setting without an explanation in its class is an error.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import pkgutil
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple, is_typeddict

import apsw
import attrs
from nanoclaw_settings.rules import Secret
from nanoclaw_wire import session_files

from nanoclaw_core import descriptors, hookspecs
from nanoclaw_core.budgets import Budgets
from nanoclaw_core.contributions import collect_contributions
from nanoclaw_core.descriptors.administration import Migration, Parameter, Verb
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.ids import GroupId
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.scope import is_visible, scope_arguments
from nanoclaw_core.settings import AllowedMount, CoreSettings
from nanoclaw_core.store.migrations import migrate_core, migrate_plugin
from nanoclaw_core.store.schema import core_migrations
from nanoclaw_core.verbs import core_verbs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GENERATED = "<!-- Written by tools/generate_docs.py from the code. Change the code and run it again. -->\n"
KINDS = ("collect", "vote", "notify")
ACCESS = {Access.ALLOWED: "allowed", Access.NEEDS_APPROVAL: "a human must approve", Access.OPERATOR_ONLY: "no"}
VERBS_HEAD = """\
# Verbs

The verbs `ncl RESOURCE VERB` of a running host with all plugins of this checkout. `ncl help RESOURCE` shows those of
your host. The operator at the host's terminal may use every verb. An agent's setting `cli_scope` limits the agent: with
`disabled` it may use no verb, with `global` every verb that is allowed or can be approved, and with `group` the same
verbs for its own group only.

Write options as `--name value` or `--name=value`. Repeat an option for a list. `--name=null` means no value. Types are
those of Python.
"""
SETTINGS_HEAD = """\
# Settings

The settings of an instance are in `nanoclaw.toml` in the instance directory. The table `[core]` has the settings of the
host, `[plugins.<name>]` those of a plugin. A string may be `env:NAME` or `file:PATH` (at most 64 KB, relative to the
instance directory), so that keys stay out of the file. The host reads settings and environment when it starts.

An error names the key, the rule and the value: `core.max_sandboxes: must be from 1 to 10000, got 0.` It
shows `env:NAME` and `file:PATH` as they are in the file. No error, log or command shows a `Secret`.

```toml
[core]
owners = ["terminal:operator"]
timezone = "Europe/Berlin"

[plugins.claude]
api_key = "file:claude.key"
```

`ncl doctor` checks the settings. An unknown key is refused, and the error suggests the nearest known key. After an
error in `[core]` the host does not start. After an error in `[plugins.<name>]`, or without a key that is required
there, the host starts without that plugin, and the log, `ncl plugins` and `ncl doctor` give the reason.

## Environment variables

| variable | meaning |
| --- | --- |
| `NANOCLAW_HOME` | the instance directory |
| `NANOCLAW_DEBUG=1` | `ncl` shows the traceback of an error |
| `NANOCLAW_PYTHON` | the Python with which `./nanoclaw` creates its environment |
| `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, `CLAUDE_CODE_OAUTH_TOKEN` | \
the key for claude; the first one that is set, unless `[plugins.claude]` has a key |
| `ANTHROPIC_BASE_URL` | another address with the Messages API |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | the http and https proxies before the upstreams |
| `DOCKER_HOST` | the engine's address |
| `TZ` | the machine's time zone, if `timezone` is not set |

## All settings
"""


class Explained(NamedTuple):
    """The parts of a docstring.

    Args:
        text: The text before the first section.
        version: The version that added the documented thing, or empty.
        sections: The text of each section (`Args`, `Returns`, `Raises`, `Example`) without its indentation, by name.
        entries: The entries of `Args` and `Attributes`, by name, each on one line.
    """

    text: str
    version: str
    sections: Mapping[str, str]
    entries: Mapping[str, str]


def main(arguments: list[str]) -> int:
    """Write the documents, or name outdated ones (--check). Return the exit code."""
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" not in arguments:
        for path in stale:
            path.write_text(documents()[path], encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is out of date; run python tools/generate_docs.py")
    return 1 if stale else 0


def documents() -> dict[Path, str]:
    """Return the new text of each generated document."""
    return {
        DOCS / "hooks.md": hooks_page(),
        DOCS / "schema.md": schema_page(),
        DOCS / "settings.md": settings_page(),
        DOCS / "verbs.md": verbs_page(),
    }


def first_party() -> Plugins:
    """Load the plugins of this checkout, and no other installed ones."""
    members = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["sources"]
    plugins = Plugins()
    for member in sorted(members):
        for point in distribution(member).entry_points.select(group=hookspecs.GROUP):
            plugins.add(importlib.import_module(point.module), name=point.name, source=member)
    return plugins


# Docstrings


def explain(documented: object) -> Explained:
    """Parse a docstring in Google's style."""
    doc, _, version = (inspect.getdoc(documented) or "").partition(".. versionadded:: ")
    parts = re.split(r"^(Args|Attributes|Returns|Raises|Example):\n", doc, flags=re.MULTILINE)
    sections = {name: textwrap.dedent(text).strip("\n") for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    entries: dict[str, str] = {}
    for name in ("Args", "Attributes"):
        for entry in re.split(r"\n(?=\S)", sections.get(name, "")):
            key, _, text = entry.partition(":")
            if text:
                entries[key.strip()] = " ".join(text.split())
    return Explained(text=parts[0].strip(), version=version.strip(), sections=sections, entries=entries)


def row(*cells: str) -> str:
    """Return one row of a table."""
    return "| " + " | ".join(_in_a_cell(cell) for cell in cells) + " |"


def _in_a_cell(text: str) -> str:
    """Escape characters that end a cell, and those that begin a tag outside of code."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table."""
    names = list(head)
    return "\n".join([row(*names), row(*("---" for _ in names)), *(row(*cells) for cells in rows)])


# docs/hooks.md


def hooks_page() -> str:
    """Return docs/hooks.md."""
    parts = [
        GENERATED,
        "# Hooks and descriptors\n",
        "All contributions of a plugin, from `nanoclaw_core/hookspecs.py` and `nanoclaw_core/descriptors/`."
        " [writing-a-plugin.md](writing-a-plugin.md) explains how to write a plugin.\n",
        f"```\n{inspect.getdoc(hookspecs)}\n```\n",
    ]
    functions = [function for function in vars(hookspecs).values() if inspect.isfunction(function)]
    hooks = [function for function in functions if function.__name__.startswith("nanoclaw_")]
    for kind in KINDS:
        parts.append(f"## {kind.capitalize()}\n")
        parts += [hook_text(hook) for hook in hooks if f"({kind})" in (hook.__doc__ or "")]
    parts.append("## Descriptors\n")
    parts.append("The classes of the values that hooks return and receive. Import each from `nanoclaw_core`.\n")
    parts += [class_text(kind) for kind in descriptor_classes()]
    return "\n".join(parts)


def hook_text(hook: Callable[..., Any]) -> str:
    """Return the section of one hook."""
    explained = explain(hook)
    text = re.sub(rf" \((?:{'|'.join(KINDS)})\)", "", explained.text)
    lines = [f"### {hook.__name__}\n", f"```python\n{signature(hook)}\n```\n", f"{text}\n"]
    lines += [f"- `{name}`: {entry}" for name, entry in explained.entries.items()]
    lines += [""] if explained.entries else []
    if "Returns" in explained.sections:
        lines.append(f"Returns: {' '.join(explained.sections['Returns'].split())}\n")
    if "Example" in explained.sections:
        lines.append(f"```python\n{explained.sections['Example']}\n```\n")
    lines.append(f"Since {explained.version}.\n")
    return "\n".join(lines)


def signature(function: Callable[..., Any], name: str | None = None) -> str:
    """Return a function's signature with types."""
    prefix = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{prefix} {name or function.__name__}{str(inspect.signature(function)).replace(chr(39), '')}"


def descriptor_classes() -> Iterator[type]:
    """Yield the public classes of the descriptors in the order of their definition."""
    for module in pkgutil.iter_modules(descriptors.__path__, descriptors.__name__ + "."):
        homes = (module.name, "nanoclaw_untrusted.directories")  # descriptors have classes of a library as fields
        for name, kind in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(kind) and kind.__module__ in homes and not name.startswith("_"):
                yield kind


def class_text(kind: type) -> str:
    """Return the section of a descriptor, a protocol or an enumeration."""
    explained = explain(kind)
    lines = [f"### {kind.__name__}\n", explained.text + "\n"]
    if issubclass(kind, enum.Enum):
        lines.append(", ".join(f"`{kind.__name__}.{member.name}`" for member in kind) + "\n")
    elif attrs.has(kind):
        rows = [
            (f"`{field.name}`", f"`{field.type}`", _default(field), explained.entries.get(field.name, ""))
            for field in attrs.fields(kind)
        ]
        lines.append(table(("field", "type", "default", "meaning"), rows) + "\n")
    elif not is_typeddict(kind):
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                doc = inspect.getdoc(method) or ""
                body = textwrap.indent(f'"""{doc}\n"""' if "\n" in doc else f'"""{doc}"""', "    ")
                lines.append(f"```python\n{signature(method)}:\n{body}\n```\n")
    return "\n".join(lines)


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    if isinstance(value, frozenset):
        return f"`{{{', '.join(map(repr, sorted(value)))}}}`" if value else "`frozenset()`"
    if value is None or isinstance(value, bool | int | float | str | tuple | list | dict):
        return f"`{value!r}`"
    return f"`{value}`" if isinstance(value, enum.Enum) else "optional"


# docs/schema.md


def schema_page() -> str:
    """Return docs/schema.md."""
    parts = [
        GENERATED,
        "# Tables\n",
        "The tables after all migrations. [wire.md](wire.md) explains the session files.\n",
        "## data/nanoclaw.db\n",
        "One per instance, written by the host. A plugin's tables start with the plugin's name.\n",
    ]
    db = apsw.Connection(":memory:")
    migrate_core(db, core_migrations())
    parts.append(f"### core\n\n{_statements(db, known := set())}")
    for plugin, steps in first_party().collect_all("nanoclaw_migrations", Migration).items():
        migrate_plugin(db, plugin, steps)
        parts.append(f"### {plugin}\n\n{_statements(db, known)}")
    for name, writer, schema in (
        ("in/inbound.db", "the host", session_files.INBOUND_SCHEMA),
        ("out/outbound.db", "the runner", session_files.OUTBOUND_SCHEMA),
    ):
        session = apsw.Connection(":memory:")
        session.execute(schema)
        parts.append(f"## {name}\n\nOne per session, written by {writer}.\n\n{_statements(session, set())}")
    return "\n".join(parts)


def _statements(db: apsw.Connection, known: set[str]) -> str:
    """Return new statements of the schema as one block; add their names to `known`."""
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    new = [(name, sql) for name, sql in rows if name not in known]
    known |= {name for name, _ in new}
    return "```sql\n" + "\n\n".join(f"{sql.strip()};" for _, sql in new) + "\n```\n"


# docs/verbs.md


def verbs_page() -> str:
    """Return docs/verbs.md."""
    contributions = collect_contributions(first_party())
    own = core_verbs(status=dict, plugins=list, verbs=list)
    by_resource: dict[str, list[Verb]] = {}
    for verb in sorted([*(contribution.value for contribution in contributions.verbs.values()), *own], key=full_name):
        by_resource.setdefault(verb.resource, []).append(verb)
    pages = [GENERATED, VERBS_HEAD]
    for resource, verbs in by_resource.items():
        about = contributions.resources[resource].value.help if resource in contributions.resources else ""
        rows = [(f"`{full_name(verb)}`", verb.help, ACCESS[verb.access], _within_group(verb)) for verb in verbs]
        pages.append(f"## {resource or 'Without a resource'}\n")
        pages += [f"{about[:1].upper()}{about[1:]}.\n"] if about else []
        pages.append(table(("verb", "effect", "agents", "scope `group`"), rows) + "\n")
        pages += [text for verb in verbs if (text := _verb_text(verb))]
    return "\n".join(pages)


def _within_group(verb: Verb) -> str:
    """Return the access of an agent of scope `group` to a verb."""
    agent = Caller(agent_group_id=GroupId("own"), scope_group_id=GroupId("own"))
    if not is_visible(verb, agent):
        return "no"
    filled = ", ".join(f"`--{name.replace('_', '-')}`" for name in scope_arguments(verb, agent))
    return f"yes, {filled} is its own group" if filled else "yes, only its own rows"


def _verb_text(verb: Verb) -> str:
    """Return the table of a verb's parameters, or an empty string if it has none."""
    if not verb.parameters:
        return ""
    rows = [
        (
            f"`--{parameter.name.replace('_', '-')}`" + (" (or as a word)" if parameter.is_positional else ""),
            f"`{parameter.kind.__name__}`",
            "yes" if parameter.is_required else "",
            _meaning(parameter),
        )
        for parameter in verb.parameters
    ]
    return f"### {full_name(verb)}\n\n{table(('parameter', 'type', 'required', 'meaning'), rows)}\n"


def _meaning(parameter: Parameter) -> str:
    """Return a parameter's help with its choices and default, as `ncl help` shows it."""
    choices = f"one of {', '.join(parameter.choices)}" if parameter.choices else ""
    meaning = "; ".join(filter(None, (parameter.help, choices)))
    return f"{meaning} (default {parameter.default})".strip() if parameter.default else meaning


# docs/settings.md


def settings_page() -> str:
    """Return docs/settings.md: a table for `[core]`, each nested table and each plugin."""
    contributions = collect_contributions(first_party())
    shapes = {"[core]": CoreSettings, "[core.budgets]": Budgets, "[[core.allowed_mounts]]": AllowedMount}
    by_kind = (contributions.channels, contributions.providers, contributions.runtimes, contributions.services)
    for named in by_kind:
        for contribution in named.values():
            item: Any = contribution.value
            if item.settings is not None:
                shapes[f"[plugins.{contribution.plugin}]"] = item.settings
    head = ("key", "type", "default", "meaning")
    tables = [f"### `{name}`\n\n{table(head, _settings(kind))}\n" for name, kind in shapes.items()]
    return "\n".join([GENERATED, SETTINGS_HEAD, *tables])


def _settings(shape: type) -> Iterator[tuple[str, str, str, str]]:
    explained = explain(shape)
    for field in attrs.fields(shape):
        meaning = explained.entries.get(field.name)
        if meaning is None:
            raise ValueError(f"{shape.__module__}.{shape.__name__}: Args does not explain {field.name!r}. Add it.")
        rules = getattr(field.validator, "_validators", (field.validator,))  # of several validators, attrs makes one
        bounds = [f" {rule.text.capitalize()}." for rule in rules if " from " in getattr(rule, "text", "")]
        yield f"`{field.name}`", f"`{_kind(field.type)}`", _as_toml(field), "".join([meaning, *bounds])


def _kind(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def _as_toml(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    return "not set" if value is None or isinstance(value, Secret) else f"`{json.dumps(value, default=lambda _: {})}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
