"""The image's tag says what is in it, and a distribution gets into it as it is installed here."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

import pytest
from nanoclaw_runtime_docker.build import build_arguments, context
from nanoclaw_runtime_docker.distributions import Kind, ingredient, pack_wheel, source_files
from nanoclaw_runtime_docker.recipe import recipe_of
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import SandboxPart, SandboxRefused

BASE = "python:3.12-slim-bookworm"
JQ = SandboxPart(name="jq", apt=["jq"])
TOOLS = SandboxPart(name="tools", apt=["git", "jq"], npm=["@scope/tool@1.2.3"], pip=["iniconfig>=2"])


def tag(parts: Sequence[SandboxPart], base: str = BASE) -> str:
    return recipe_of(parts, base).tag


def test_the_order_of_plugins_does_not_change_the_tag() -> None:
    assert tag([JQ, TOOLS]) == tag([TOOLS, JQ])


def test_what_plugins_ask_for_changes_the_tag() -> None:
    assert len({tag([]), tag([JQ]), tag([TOOLS]), tag([SandboxPart(name="jq", pip=["jq"])])}) == 4


def test_the_base_image_is_the_operators_choice_and_no_part_of_the_tag() -> None:
    assert tag([JQ]) == tag([JQ], "debian:13")


@pytest.mark.parametrize("name", ["jq; rm -rf /", "-o=APT::x", "two words", "$(id)", ""])
def test_a_package_that_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(SandboxRefused, match="no name of one"):
        recipe_of([SandboxPart(name="bad", apt=[name])], BASE)


def test_a_distribution_that_is_not_installed_is_named() -> None:
    with pytest.raises(SandboxRefused, match="nanoclaw-provider-missing"):
        recipe_of([SandboxPart(name="missing", distribution="nanoclaw-provider-missing")], BASE)


def test_the_context_has_everything_the_dockerfile_copies() -> None:
    recipe = recipe_of([TOOLS], BASE)
    with tarfile.open(fileobj=io.BytesIO(context(recipe))) as tar:
        names = set(tar.getnames())
        assert {"Dockerfile", "apt.txt", "npm.txt", "requirements.txt", "wheels", "sources"} <= names
        requirements = (tar.extractfile("requirements.txt") or io.BytesIO()).read().decode().split()
        assert (tar.extractfile("apt.txt") or io.BytesIO()).read() == b"git\njq\n"
    local = [line.removeprefix("./").partition("[")[0] for line in requirements if line.startswith("./")]
    assert [one.rpartition("/")[2] for one in local] == ["nanoclaw-client", "nanoclaw-runner", "nanoclaw-wire"]
    assert all(any(name.startswith(one) for name in names) for one in local)
    assert "iniconfig>=2" in requirements


def test_the_same_content_makes_the_same_context() -> None:
    assert context(recipe_of([JQ], BASE)) == context(recipe_of([JQ], BASE))


def test_only_build_arguments_that_were_set_are_passed_on() -> None:
    own = {"BASE_IMAGE": BASE}
    assert build_arguments(own, Settings()) == own
    assert build_arguments(own, Settings(npm_registry="http://npm")) == {**own, "NPM_CONFIG_REGISTRY": "http://npm"}


def test_an_installed_distribution_is_packed_into_a_wheel_that_pip_takes(tmp_path: Path) -> None:
    found = ingredient("iniconfig", "")
    assert found.kind is Kind.PURE
    wheel = tmp_path / found.wheel_name
    wheel.write_bytes(pack_wheel("iniconfig"))
    target = tmp_path / "target"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(command, check=True)
    installed = {path.relative_to(target).as_posix() for path in target.rglob("*.py")}
    expected = {file.as_posix() for file in distribution("iniconfig").files or () if file.suffix == ".py"}
    assert installed == expected
    with zipfile.ZipFile(wheel) as packed:
        assert not [name for name in packed.namelist() if name.endswith(("direct_url.json", "INSTALLER", ".pyc"))]


def test_a_distribution_with_compiled_parts_is_fetched_in_the_same_version() -> None:
    found = ingredient("apsw", "")
    assert (found.kind, found.requirement) == (Kind.COMPILED, f"apsw=={distribution('apsw').version}")


def test_sources_are_copied_without_what_is_hidden_made_or_linked(tmp_path: Path) -> None:
    for name in (
        "src/package/__init__.py",
        "pyproject.toml",
        ".git/config",
        "env/pyvenv.cfg",
        "env/big",
        "dist/old.whl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "src" / "link").symlink_to("/etc/passwd")
    assert [str(name) for name, _ in source_files(tmp_path)] == ["pyproject.toml", "src/package/__init__.py"]
