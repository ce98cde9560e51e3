"""The agent image's tag depends on its content, and the image gets our distributions as they are installed."""

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
from nanoclaw_runtime_docker.build import agent_context, build_arguments
from nanoclaw_runtime_docker.distributions import SourceKind, distribution_source, pack_wheel, source_files
from nanoclaw_runtime_docker.recipe import make_recipe
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import SandboxRefused, SandboxRequirements

BASE = "python:3.12-slim-bookworm"
JQ = SandboxRequirements(name="jq", apt=["jq"])
TOOLS = SandboxRequirements(name="tools", apt=["git", "jq"], npm=["@scope/tool@1.2.3"], pip=["iniconfig>=2"])


def tag(requirements: Sequence[SandboxRequirements], base: str = BASE) -> str:
    return make_recipe(requirements, base).tag


def test_order_of_plugins_does_not_change_the_tag() -> None:
    assert tag([JQ, TOOLS]) == tag([TOOLS, JQ])


def test_requirements_of_plugins_change_the_tag() -> None:
    assert len({tag([]), tag([JQ]), tag([TOOLS]), tag([SandboxRequirements(name="jq", pip=["jq"])])}) == 4


def test_base_image_does_not_change_the_tag() -> None:
    assert tag([JQ]) == tag([JQ], "debian:13")


@pytest.mark.parametrize("name", ["jq; rm -rf /", "-o=APT::x", "two words", "$(id)", ""])
def test_malformed_package_name_is_refused(name: str) -> None:
    with pytest.raises(SandboxRefused, match="invalid name"):
        make_recipe([SandboxRequirements(name="bad", apt=[name])], BASE)


def test_missing_distribution_is_refused_by_name() -> None:
    with pytest.raises(SandboxRefused, match="nanoclaw-provider-missing"):
        make_recipe([SandboxRequirements(name="missing", distribution="nanoclaw-provider-missing")], BASE)


def test_context_holds_everything_the_dockerfile_copies() -> None:
    recipe = make_recipe([TOOLS], BASE)
    with tarfile.open(fileobj=io.BytesIO(agent_context(recipe))) as tar:
        names = set(tar.getnames())
        assert {"Dockerfile", "apt.txt", "npm.txt", "requirements.txt", "wheels", "sources"} <= names
        requirements = (tar.extractfile("requirements.txt") or io.BytesIO()).read().decode().split()
        assert (tar.extractfile("apt.txt") or io.BytesIO()).read() == b"git\njq\n"
    local = [line.removeprefix("./").partition("[")[0] for line in requirements if line.startswith("./")]
    assert [path.rpartition("/")[2] for path in local] == ["nanoclaw-client", "nanoclaw-runner", "nanoclaw-wire"]
    assert all(any(name.startswith(path) for name in names) for path in local)
    assert "iniconfig>=2" in requirements


def test_equal_recipes_give_equal_contexts() -> None:
    assert agent_context(make_recipe([JQ], BASE)) == agent_context(make_recipe([JQ], BASE))


def test_empty_build_arguments_are_left_out() -> None:
    own = {"BASE_IMAGE": BASE}
    assert build_arguments(own, Settings()) == own
    assert build_arguments(own, Settings(npm_registry="http://npm")) == {**own, "NPM_CONFIG_REGISTRY": "http://npm"}


def test_packed_wheel_installs_with_pip(tmp_path: Path) -> None:
    source = distribution_source("iniconfig", "")
    assert source.kind is SourceKind.PURE
    wheel = tmp_path / source.wheel_name
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


def test_compiled_distribution_is_pinned_to_its_version() -> None:
    source = distribution_source("apsw", "")
    assert (source.kind, source.requirement) == (SourceKind.COMPILED, f"apsw=={distribution('apsw').version}")


def test_source_files_leave_out_hidden_generated_and_links(tmp_path: Path) -> None:
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
