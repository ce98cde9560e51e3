"""Ordinary projects: an agent may get them, but no place for keys in them (audit B13, B16)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoclaw_core.sandboxes.mounts import MountPolicy, MountRefused
from nanoclaw_core.settings import AllowedMount

PROJECT_FILES = [".env", ".env.local", ".env.production", ".npmrc", ".docker/Dockerfile", "credentials/README"]
OTHER_KEYS = [
    ".docker/config.json", ".ssh/config", "docs/id_rsa", "credentials", ".cargo/credentials.toml", "credentials.json",
    "kubeconfig",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "work" / "project").mkdir(parents=True)
    return tmp_path / "work" / "project"


def check(path: Path, *allowed: Path | str) -> Path:
    roots = [AllowedMount(path=str(root)) for root in allowed]
    return MountPolicy(allowed=roots, home=Path("/nowhere/instance")).check({"path": str(path), "name": "x"}).source


def refusal(path: Path, *allowed: Path | str) -> str:
    with pytest.raises(MountRefused) as caught:
        check(path, *allowed)
    return str(caught.value)


def put(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.mark.parametrize(
    "name", ["credentials-service", "my.environment", "dockerfiles.docker", "app.env.d", "private_keyboard", "m2.m2x"]
)
def test_name_that_contains_a_key_place_is_mounted(project: Path, name: str) -> None:
    put(project / name / "src" / name / "main.py")
    for path in (project, project / name, project / name / "src"):
        assert check(path, project.parent) == path


@pytest.mark.parametrize("name", [".env.example", ".env.local.sample", "environment", "src/kubeconfig/code.go"])
def test_project_without_keys_is_mounted(project: Path, name: str) -> None:
    put(project / name)
    assert check(project, project.parent) == project


@pytest.mark.parametrize("name", PROJECT_FILES)
@pytest.mark.parametrize("folder", [".", "packages/one"])
def test_project_files_need_the_exact_directory(project: Path, name: str, folder: str) -> None:
    put(project / folder / name)
    assert f"allowed only if core.allowed_mounts names {project} itself" in refusal(project, project.parent)
    assert check(project, project.parent, project) == project


def test_link_does_not_name_the_exact_directory(project: Path, tmp_path: Path) -> None:
    """Another user may have exchanged the link since the operator wrote the settings."""
    put(project / ".env")
    (tmp_path / "project").symlink_to(project)
    assert "names" in refusal(tmp_path / "project", tmp_path / "project")


def test_home_may_begin_the_exact_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project / ".env")
    monkeypatch.setenv("HOME", str(project.parent))
    assert check(project, "~no-such-user", "~/project/") == project


@pytest.mark.parametrize("name", OTHER_KEYS)
def test_named_project_has_no_other_keys(project: Path, name: str) -> None:
    put(project / name)
    assert "a place for keys. Mount" in refusal(project, project)


def test_named_project_has_no_pipe(project: Path) -> None:
    os.mkfifo(project / ".env")
    assert "a pipe" in refusal(project, project)


@pytest.fixture
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory with keys of unusual names."""
    put(project.parent / "home" / ".ssh" / "id_custom")
    put(project.parent / "home" / ".config" / "Code" / "state")
    put(project.parent / "home" / ".docker" / "contexts")
    monkeypatch.setenv("HOME", str(project.parent / "home"))
    return project.parent / "home"


@pytest.fixture(params=[".ssh", ".config/Code", ".docker", "."])
def other_name(request: pytest.FixtureRequest, project: Path, home: Path) -> Iterator[Path]:
    """Give one of the user's directories a second name in the project."""
    (project / "other").mkdir()
    done = subprocess.run(
        ["mount", "--bind", home / request.param, project / "other"], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    yield project / "other"
    subprocess.run(["umount", project / "other"], check=True)


def test_other_name_of_a_key_place_is_refused(other_name: Path, project: Path) -> None:
    assert any(
        text in refusal(other_name, other_name) for text in ("looks like a place for keys", "shows the home directory")
    )
    assert "contains other, a place for keys" in refusal(project, project)


def test_link_in_the_home_has_no_other_name(project: Path, home: Path) -> None:
    """The keys of a user may lie elsewhere."""
    (project / "vault" / "inner").mkdir(parents=True)
    (home / ".gnupg").symlink_to(project / "vault")
    for path in (project / "vault", project / "vault" / "inner"):
        assert "looks like a place for keys" in refusal(path, project)


def test_settings_of_an_editor_in_a_project_are_mounted(project: Path, home: Path) -> None:
    """Only a home directory has keys in them."""
    put(project / ".config" / "Code" / "settings.json")
    assert check(project, project) == project
    assert "looks like a place for keys" in refusal(home / ".config" / "Code", home / ".config" / "Code")
