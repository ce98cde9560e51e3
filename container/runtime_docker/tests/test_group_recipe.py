"""What the image of an agent group is made of: its name says it, and no package's name can add to it."""

from __future__ import annotations

import io
import tarfile

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_runtime_docker.build import build_arguments, packed
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


@given(apt=NAMES, npm=NAMES, pip=NAMES)
def test_warning_50_no_name_that_gets_through_adds_a_line_or_an_option_to_a_build(
    apt: list[str], npm: list[str], pip: list[str]
) -> None:
    wanted = {}
    for kind, names in (("apt", apt), ("npm", npm), ("pip", pip)):
        wanted[kind] = [name for name in names if gets_through(kind, name)]
    files = recipe(Packages(**wanted)).files
    for kind, names in wanted.items():
        words = files.get(FILES[kind], b"").decode().split("\n")[:-1]
        assert words == sorted(set(names))
        assert all(word.split() == [word] and word[0] not in "-#./" for word in words)
    kinds = {kind: ["x"] for kind, names in wanted.items() if names}
    assert files["Dockerfile"] == recipe(Packages(**kinds)).files["Dockerfile"]


def gets_through(kind: str, name: str) -> bool:
    try:
        return bool(Packages(**{kind: [name]}))
    except InvalidArguments:
        return False


def test_warning_50_the_context_has_the_dockerfile_and_lists_of_names_and_nothing_else() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(EVERYTHING.files))) as tar:
        assert set(tar.getnames()) == {"Dockerfile", "apt.txt", "npm.txt", "requirements.txt"}


def test_there_is_a_layer_for_what_is_wanted_and_none_for_the_rest() -> None:
    pip_alone = recipe(Packages(pip=["roman"]))
    assert set(pip_alone.files) == {"Dockerfile", "requirements.txt"}
    assert pip_alone.dockerfile.count("\nRUN ") == 1
    assert EVERYTHING.dockerfile.count("\nRUN ") == 3


def test_the_last_instruction_gives_the_image_back_to_the_user_of_its_base() -> None:
    assert EVERYTHING.dockerfile.splitlines()[-1] == "USER ${BASE_USER}"
    assert EVERYTHING.arguments["BASE_USER"] == "1000:1000"
    assert recipe(Packages(apt=["jq"]), evolve(BASE, user="agent")).arguments["BASE_USER"] == "agent"


def test_an_image_that_says_no_user_does_not_make_a_group_image_of_root() -> None:
    assert recipe(Packages(apt=["jq"]), evolve(BASE, user="")).arguments["BASE_USER"] == "1000:1000"


def test_a_build_for_a_group_has_the_build_arguments_of_the_settings_too() -> None:
    arguments = build_arguments(EVERYTHING.arguments, Settings(pip_index_url="http://pip"))
    assert arguments == {**EVERYTHING.arguments, "PIP_INDEX_URL": "http://pip"}


def test_the_same_packages_in_another_order_are_the_same_image() -> None:
    assert recipe(Packages(apt=["jq", "git"])).image == recipe(Packages(apt=["git", "jq", "git"])).image


def test_whatever_makes_a_difference_is_in_the_name() -> None:
    others = [
        evolve(EVERYTHING, group_id=GroupId("ag-ba9876543210")),
        evolve(EVERYTHING, packages=Packages(apt=["jq"], npm=["is-odd"])),
        evolve(EVERYTHING, base=evolve(BASE, name="nanoclaw-agent:2")),
        evolve(EVERYTHING, base=evolve(BASE, id="sha256:2")),
    ]
    assert len({one.image for one in [EVERYTHING, *others]}) == 5


def test_the_group_can_be_read_from_the_name_and_from_no_other_images() -> None:
    assert group_of(EVERYTHING.image) == GROUP
    for name in ("nanoclaw-agent:1f2e", "nanoclaw-agent-group", "nanoclaw-agent-group:1f2e", "mine:ag-1-2", ""):
        assert group_of(name) is None
