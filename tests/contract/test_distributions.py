"""Each folder of the workspace is a complete distribution that the root lists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from checkout import ALL, CORE, MEMBERS, PLUGINS, ROOT, SETTINGS, Distribution

members = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
plugins = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
DISTRIBUTIONS_OF = packages_distributions()


def needed_by(distribution: Distribution) -> list[str]:
    """Return the requirements of a distribution and of its extras."""
    project = distribution.declared["project"]
    extras = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(requirement for extra in extras.values() for requirement in extra)]


def homes_of(package: str) -> set[str]:
    """Return the distributions that may contain a package.

    The metadata of our editable ones may not list it.
    """
    return {package.replace("_", "-"), *DISTRIBUTIONS_OF.get(package, ())}


def imports_of(node: ast.AST) -> Iterator[str]:
    """Yield the modules that code imports when it runs, without those only for type checking."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imports_of(child)


def test_workspace_has_plugins_of_every_kind():
    assert {plugin.folder.parent.name for plugin in PLUGINS} == {"channels", "providers", "resources", "runtimes"}


@members
def test_distribution_is_named_after_its_folder(member: Distribution):
    assert member.declared["project"]["name"] == member.name


@members
def test_distribution_has_a_typed_package_of_its_name(member: Distribution):
    assert (member.package_folder / "__init__.py").is_file()
    assert (member.package_folder / "py.typed").is_file()
    assert member.declared["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{member.package}"]


@members
def test_distribution_has_a_readme(member: Distribution):
    readme = (member.folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {member.name}\n")
    assert len(readme.splitlines()) > 2


@members
def test_distribution_has_version_and_python_of_the_core(member: Distribution):
    ours, core = member.declared["project"], SETTINGS["project"]
    assert [ours[key] for key in ("version", "requires-python", "license")] == [
        core[key] for key in ("version", "requires-python", "license")
    ]


@members
def test_distribution_pins_our_distributions_to_a_minor_version(member: Distribution):
    ours = [requirement for requirement in needed_by(member) if requirement.startswith("nanoclaw")]
    assert [requirement for requirement in ours if not requirement.endswith(">=0.1,<0.2")] == []


@pytest.mark.parametrize("distribution", ALL, ids=lambda distribution: distribution.name)
def test_distribution_requires_its_imports(distribution: Distribution):
    required = {re.split(r"[^\w.-]", text)[0] for text in needed_by(distribution)} | {distribution.name}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in distribution.package_folder.rglob("*.py")]
    packages = {name.partition(".")[0] for tree in trees for name in imports_of(tree)} - sys.stdlib_module_names
    assert [name for name in sorted(packages) if not required & homes_of(name)] == []


def test_root_lists_are_those_of_the_folders():
    command = [sys.executable, ROOT / "tools" / "generate_workspace.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@members
def test_root_lists_the_distribution_in_its_workspace(member: Distribution):
    assert SETTINGS["tool"]["uv"]["sources"][member.name] == {"workspace": True}
    patterns = SETTINGS["tool"]["uv"]["workspace"]["members"]
    assert any(member.folder.relative_to(ROOT).match(pattern) for pattern in patterns)


@members
def test_default_extra_contains_the_distribution(member: Distribution):
    default = SETTINGS["project"]["optional-dependencies"]["default"] + SETTINGS["project"]["dependencies"]
    assert any(requirement.startswith((f"{member.name}>", f"{member.name}[")) for requirement in default)


@plugins
def test_plugin_package_imports_nothing(plugin: Distribution):
    body = ast.parse((plugin.package_folder / "__init__.py").read_text(encoding="utf-8")).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


@plugins
def test_plugin_has_one_entry_point_with_its_name(plugin: Distribution):
    assert plugin.entry_points["nanoclaw"] == {plugin.plugin: f"{plugin.package}.host"}
    assert (plugin.package_folder / "host.py").is_file()


@plugins
def test_runner_half_has_the_name_of_its_plugin(plugin: Distribution):
    runner = plugin.entry_points.get("nanoclaw.runner")
    assert runner is None or runner == {plugin.plugin: f"{plugin.package}.runner"}
    assert (runner is not None) == (plugin.folder.parent.name == "providers")


@plugins
def test_plugin_documents_its_absence(plugin: Distribution):
    tree = ast.parse((plugin.package_folder / "host.py").read_text(encoding="utf-8"))
    assert (ast.get_docstring(tree) or "").split("\n\n")[-1].startswith("Without this plugin: ")


@pytest.mark.parametrize("distribution", ALL, ids=lambda distribution: distribution.name)
def test_import_contracts_list_the_distribution(distribution: Distribution):
    assert distribution.package in SETTINGS["tool"]["importlinter"]["root_packages"]


@plugins
def test_import_contracts_isolate_the_plugin(plugin: Distribution):
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    public = next(contract for contract in contracts if contract["name"].startswith("Plugins use only"))
    docker = next(contract for contract in contracts if contract["name"].startswith("Only the docker"))
    assert plugin.package in layers[0].split(" | ")
    assert f"{plugin.package}.**" in public["source_modules"]
    assert (plugin.package in docker["source_modules"]) == (plugin.plugin != "docker")


def test_core_depends_on_no_plugin():
    names = {plugin.name for plugin in PLUGINS}
    assert [needed for needed in CORE.declared["project"]["dependencies"] if needed.split(">")[0] in names] == []
