"""The images of agent groups in an engine: missing, stale, there already, no longer needed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from click.testing import CliRunner
from nanoclaw_runtime_docker.build import BuildOrder, build_image, packed
from nanoclaw_runtime_docker.command import image
from nanoclaw_runtime_docker.engine import Engine
from nanoclaw_runtime_docker.group_image import find_base, find_image, remove_older
from nanoclaw_runtime_docker.group_recipe import MADE_FOR_LABEL, GroupRecipe
from nanoclaw_runtime_docker.settings import Settings

from nanoclaw_core import BuildsImages, GroupId, Packages, SandboxRefused
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_scenario import connected, patiently, run

if TYPE_CHECKING:
    from docker import APIClient

PLUGIN = "nanoclaw_runtime_docker.host"
STALE = "image of an agent group is stale"
pytestmark = pytest.mark.docker


@pytest.fixture
def recipe(client: APIClient, place: Place) -> Iterator[GroupRecipe]:
    """What a group of the place's instance wants; its images are gone after the test."""
    base = find_base(client, place.settings["image"])
    assert base is not None
    group_id = GroupId(f"ag-{secrets.token_hex(6)}")
    packages = Packages(pip=["roman"])
    yield GroupRecipe(base=base, instance_id=place.instance_id, group_id=group_id, packages=packages)
    for found in client.images(filters={"label": f"{MADE_FOR_LABEL}={group_id}"}):
        client.remove_image(found["Id"], force=True)


def make(recipe: GroupRecipe, place: Place) -> str:
    """Make an image with a recipe's name and labels and nothing more on its base; return the name."""
    dockerfile = f"FROM {place.settings['image']}\nENV MADE_AS={recipe.image}\n"  # or all would be one image
    order = BuildOrder(
        image=recipe.image, context=packed({"Dockerfile": dockerfile.encode()}), arguments={}, labels=recipe.labels
    )
    with contextlib.closing(Engine(place.settings["docker_host"], {}, 60.0)) as engine:
        build_image(engine, order, Settings(), lambda _step: None)
    return recipe.image


def built(place: Place, group_id: GroupId, packages: Packages) -> tuple[str, list[str]]:
    """Have an image built as the host does, and return its name with what was told."""
    told: list[str] = []

    async def scenario() -> str:
        async with connected(place) as runtime:
            assert isinstance(runtime, BuildsImages)
            return await runtime.build_for(group_id, packages, told.append)

    return patiently(scenario()), told


def started_with(place: Place, name: str) -> int:
    """Run a sandbox of an image, and return its exit status."""
    return int(run(place, spec=evolve(place.spec("raise SystemExit(6)"), image=name)).code)


def test_a_group_image_is_not_built_without_the_image_that_all_agents_have(docker_address: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": docker_address})
    with pytest.raises(SandboxRefused, match=r"nanoclaw-agent:[0-9a-f]{12} is missing.* ncl image build"):
        built(place, GroupId("ag-0123456789ab"), Packages(apt=["jq"]))


def test_a_group_without_packages_gets_no_image_of_its_own(place: Place) -> None:
    with pytest.raises(SandboxRefused, match="ag-0123456789ab has no packages"):
        built(place, GroupId("ag-0123456789ab"), Packages())


def test_the_very_image_is_not_built_again(place: Place, recipe: GroupRecipe) -> None:
    name = make(recipe, place)
    image_there, told = built(place, recipe.group_id, recipe.packages)
    assert image_there == name
    assert told == [f"{name} is there already: the same packages on the same image"]


def test_a_missing_group_image_is_refused_with_the_command_that_builds_it(place: Place) -> None:
    with pytest.raises(SandboxRefused, match=r"is missing\. Build it: ncl groups restart ag-0123456789ab --rebuild"):
        started_with(place, "nanoclaw-agent-group:ag-0123456789ab-000000000000")


def test_an_image_that_somebody_chose_for_a_group_is_refused_where_it_is_missing(place: Place) -> None:
    with pytest.raises(SandboxRefused, match=r"mine:1 is missing\. Pull or build mine:1, or take it out of the agent"):
        started_with(place, "mine:1")


def test_a_stale_group_image_works_and_the_log_says_what_makes_it_anew(
    place: Place, recipe: GroupRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    before = evolve(recipe, base=evolve(recipe.base, id="sha256:another"))
    assert started_with(place, make(before, place)) == 6
    (warning,) = [record for record in caplog.records if record.message == STALE]
    assert vars(warning)["remedy"] == f"ncl groups restart {recipe.group_id} --rebuild"


def test_nothing_is_said_of_a_group_image_that_is_not_stale(
    place: Place, recipe: GroupRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    assert started_with(place, make(recipe, place)) == 6
    assert STALE not in caplog.messages


def test_of_a_groups_older_images_the_last_one_and_those_in_use_stay(
    client: APIClient, place: Place, recipe: GroupRecipe
) -> None:
    recipes = [evolve(recipe, packages=Packages(pip=[name])) for name in ("first", "second", "third", "fourth")]
    names = [make(one, place) for one in recipes]
    container = client.create_container(names[0], ["-c", "pass"])
    try:
        remove_older(client, recipes[-1])
        assert [find_image(client, name) is not None for name in names] == [True, False, True, True]
    finally:
        client.remove_container(container)


def test_images_of_another_instance_stay(client: APIClient, place: Place, recipe: GroupRecipe) -> None:
    recipes = [evolve(recipe, packages=Packages(pip=[name])) for name in ("first", "second", "third")]
    names = [make(one, place) for one in recipes]
    remove_older(client, evolve(recipes[-1], instance_id="another"))
    assert all(find_image(client, name) for name in names)


def test_a_container_that_a_person_makes_of_a_group_image_is_no_stray_of_the_instance(
    client: APIClient, place: Place, recipe: GroupRecipe
) -> None:
    container = client.create_container(make(recipe, place), ["-c", "pass"])["Id"]

    async def scenario() -> int:
        async with connected(place) as runtime:
            return await runtime.reap()

    try:
        assert patiently(scenario()) == 0
    finally:
        client.remove_container(container)


def test_the_command_line_shows_the_images_of_groups_and_which_are_stale(place: Place, recipe: GroupRecipe) -> None:
    stale = make(evolve(recipe, base=evolve(recipe.base, id="sha256:another")), place)
    assert f"group   {stale} (stale: ncl groups restart {recipe.group_id} --rebuild)" in shown(place)
    fresh = make(recipe, place)
    lines = shown(place)
    assert f"group   {stale} (the group has a newer one)" in lines
    assert f"group   {fresh}" in lines


def shown(place: Place) -> list[str]:
    """Return what `ncl image show` prints."""
    table = "".join(f'{key} = "{value}"\n' for key, value in place.settings.items())
    place.home.joinpath("nanoclaw.toml").write_text(f"[plugins.docker]\n{table}")
    invocation = SimpleNamespace(home=place.home, as_json=False, environment={})  # as `ncl` hands it to commands
    done = CliRunner().invoke(image, ["show"], obj=invocation, standalone_mode=False)
    assert done.exception is None
    return done.output.splitlines()
