"""The recipe of an agent group's image: it determines the name, and no package name can add an instruction."""

from __future__ import annotations

import io
import tarfile

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_runtime_docker.build import build_arguments, pack_files
from nanoclaw_runtime_docker.group_recipe import BaseImage, GroupRecipe, group_of
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import GroupId, InvalidArguments, Packages

GROUP = GroupId("ag-0123456789ab")
BASE = BaseImage(name="nanoclaw-agent:1", id="sha256:1", user="1000:1000")
FILES = {"apt": "apt.txt", "npm": "npm.txt", "pip": "requirements.txt"}
NAMES = st.lists(st.text("aZ09-._+@/~ ;\n$='\"\\#", max_size=5), max_size=3)


def recipe(packages: Packages, base: BaseImage = BASE) -> GroupRecipe:
    return GroupRecipe(base=base, instance_id="one", group_id=GROUP, packages=packages)


EVERYTHING = recipe(Packages(apt=["jq"], npm=["is-odd"], pip=["roman"]))


@pytest.mark.defect(number=50)
@given(apt=NAMES, npm=NAMES, pip=NAMES)
def test_package_name_never_adds_a_line_or_option_to_a_build(apt: list[str], npm: list[str], pip: list[str]) -> None:
    packages = {}
    for kind, names in (("apt", apt), ("npm", npm), ("pip", pip)):
        packages[kind] = [name for name in names if is_valid(kind, name)]
    files = recipe(Packages(**packages)).files
    for kind, names in packages.items():
        words = files.get(FILES[kind], b"").decode().split("\n")[:-1]
        assert words == sorted(set(names))
        assert all(word.split() == [word] and word[0] not in "-#./" for word in words)
    kinds = {kind: ["x"] for kind, names in packages.items() if names}
    assert files["Dockerfile"] == recipe(Packages(**kinds)).files["Dockerfile"]


def is_valid(kind: str, name: str) -> bool:
    try:
        return bool(Packages(**{kind: [name]}))
    except InvalidArguments:
        return False


@pytest.mark.defect(number=50)
def test_group_context_holds_only_dockerfile_and_name_lists() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack_files(EVERYTHING.files))) as tar:
        assert set(tar.getnames()) == {"Dockerfile", "apt.txt", "npm.txt", "requirements.txt"}


def test_group_dockerfile_has_a_layer_per_kind_of_package() -> None:
    pip_alone = recipe(Packages(pip=["roman"]))
    assert set(pip_alone.files) == {"Dockerfile", "requirements.txt"}
    assert pip_alone.dockerfile.count("\nRUN ") == 1
    assert EVERYTHING.dockerfile.count("\nRUN ") == 3


def test_group_image_runs_as_the_user_of_its_base() -> None:
    assert EVERYTHING.dockerfile.splitlines()[-1] == "USER ${BASE_USER}"
    assert EVERYTHING.arguments["BASE_USER"] == "1000:1000"
    assert recipe(Packages(apt=["jq"]), evolve(BASE, user="agent")).arguments["BASE_USER"] == "agent"


def test_group_image_without_a_base_user_is_not_root() -> None:
    assert recipe(Packages(apt=["jq"]), evolve(BASE, user="")).arguments["BASE_USER"] == "1000:1000"


def test_group_build_gets_the_arguments_of_the_settings() -> None:
    arguments = build_arguments(EVERYTHING.arguments, Settings(pip_index_url="http://pip"))
    assert arguments == {**EVERYTHING.arguments, "PIP_INDEX_URL": "http://pip"}


def test_order_of_packages_does_not_change_the_image() -> None:
    assert recipe(Packages(apt=["jq", "git"])).image == recipe(Packages(apt=["git", "jq", "git"])).image


def test_every_part_of_a_group_recipe_changes_the_name() -> None:
    others = [
        evolve(EVERYTHING, group_id=GroupId("ag-ba9876543210")),
        evolve(EVERYTHING, packages=Packages(apt=["jq"], npm=["is-odd"])),
        evolve(EVERYTHING, base=evolve(BASE, name="nanoclaw-agent:2")),
        evolve(EVERYTHING, base=evolve(BASE, id="sha256:2")),
    ]
    assert len({group_recipe.image for group_recipe in [EVERYTHING, *others]}) == 5


def test_group_is_read_only_from_group_image_names() -> None:
    assert group_of(EVERYTHING.image) == GROUP
    for name in ("nanoclaw-agent:1f2e", "nanoclaw-agent-group", "nanoclaw-agent-group:1f2e", "mine:ag-1-2", ""):
        assert group_of(name) is None
