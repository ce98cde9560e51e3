"""The images of agent groups in an engine: missing, stale, existing, no longer needed."""

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
from nanoclaw_runtime_docker.build import BuildRequest, build_image, pack_files
from nanoclaw_runtime_docker.command import image
from nanoclaw_runtime_docker.engine import Engine
from nanoclaw_runtime_docker.group_image import find_base, find_image, remove_older
from nanoclaw_runtime_docker.group_recipe import GROUP_LABEL, GroupRecipe
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
    """The recipe of a group of the place's instance; its images are removed after the test."""
    base = find_base(client, place.settings["image"])
    assert base is not None
    group_id = GroupId(f"ag-{secrets.token_hex(6)}")
    packages = Packages(pip=["roman"])
    yield GroupRecipe(base=base, instance_id=place.instance_id, group_id=group_id, packages=packages)
    for image_data in client.images(filters={"label": f"{GROUP_LABEL}={group_id}"}):
        client.remove_image(image_data["Id"], force=True)


def make(recipe: GroupRecipe, place: Place) -> str:
    """Build an image that has only a recipe's name and labels on top of its base; return the name."""
    dockerfile = f"FROM {place.settings['image']}\nENV MADE_AS={recipe.image}\n"  # the variable gives each its own id
    context = pack_files({"Dockerfile": dockerfile.encode()})
    request = BuildRequest(image=recipe.image, context=context, arguments={}, labels=recipe.labels)
    with contextlib.closing(Engine(place.settings["docker_host"], {}, 60.0)) as engine:
        build_image(engine, request, Settings(), lambda _step: None)
    return recipe.image


def built(place: Place, group_id: GroupId, packages: Packages) -> tuple[str, list[str]]:
    """Build an image as the host does, and return its name with the lines of progress."""
    progress: list[str] = []

    async def scenario() -> str:
        async with connected(place) as runtime:
            assert isinstance(runtime, BuildsImages)
            return await runtime.build_for(group_id, packages, progress.append)

    return patiently(scenario()), progress


def exit_code_with(place: Place, name: str) -> int:
    """Run a sandbox with an image, and return its exit status."""
    return int(run(place, spec=evolve(place.spec("raise SystemExit(6)"), image=name)).code)


def test_group_image_without_the_agent_image_is_refused(docker_address: str, tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"docker_host": docker_address})
    with pytest.raises(SandboxRefused, match=r"nanoclaw-agent:[0-9a-f]{12} is missing.* ncl image build"):
        built(place, GroupId("ag-0123456789ab"), Packages(apt=["jq"]))


def test_group_image_without_packages_is_refused(place: Place) -> None:
    with pytest.raises(SandboxRefused, match="ag-0123456789ab has no packages"):
        built(place, GroupId("ag-0123456789ab"), Packages())


def test_existing_group_image_is_not_built_again(place: Place, recipe: GroupRecipe) -> None:
    name = make(recipe, place)
    existing, progress = built(place, recipe.group_id, recipe.packages)
    assert existing == name
    assert progress == [f"{name} exists already: the same packages on the same image"]


def test_missing_group_image_is_refused_with_its_command(place: Place) -> None:
    with pytest.raises(SandboxRefused, match=r"is missing\. Build it: ncl groups restart ag-0123456789ab --rebuild"):
        exit_code_with(place, "nanoclaw-agent-group:ag-0123456789ab-000000000000")


def test_missing_custom_image_is_refused_with_a_remedy(place: Place) -> None:
    with pytest.raises(SandboxRefused, match=r"mine:1 is missing\. Pull or build mine:1, or remove it from the agent"):
        exit_code_with(place, "mine:1")


def test_stale_group_image_works_and_logs_a_remedy(
    place: Place, recipe: GroupRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    before = evolve(recipe, base=evolve(recipe.base, id="sha256:another"))
    assert exit_code_with(place, make(before, place)) == 6
    (warning,) = [record for record in caplog.records if record.message == STALE]
    assert vars(warning)["remedy"] == f"ncl groups restart {recipe.group_id} --rebuild"


def test_current_group_image_logs_nothing(place: Place, recipe: GroupRecipe, caplog: pytest.LogCaptureFixture) -> None:
    assert exit_code_with(place, make(recipe, place)) == 6
    assert STALE not in caplog.messages


def test_old_group_images_are_removed_unless_in_use(client: APIClient, place: Place, recipe: GroupRecipe) -> None:
    recipes = [evolve(recipe, packages=Packages(pip=[name])) for name in ("first", "second", "third", "fourth")]
    names = [make(group_recipe, place) for group_recipe in recipes]
    container = client.create_container(names[0], ["-c", "pass"])
    try:
        remove_older(client, recipes[-1])
        assert [find_image(client, name) is not None for name in names] == [True, False, True, True]
    finally:
        client.remove_container(container)


def test_group_images_of_another_instance_stay(client: APIClient, place: Place, recipe: GroupRecipe) -> None:
    recipes = [evolve(recipe, packages=Packages(pip=[name])) for name in ("first", "second", "third")]
    names = [make(group_recipe, place) for group_recipe in recipes]
    remove_older(client, evolve(recipes[-1], instance_id="another"))
    assert all(find_image(client, name) for name in names)


def test_own_container_of_a_group_image_is_not_reaped(client: APIClient, place: Place, recipe: GroupRecipe) -> None:
    """A person may run such a container by hand; it inherits the image's labels."""
    container = client.create_container(make(recipe, place), ["-c", "pass"])["Id"]

    async def scenario() -> int:
        async with connected(place) as runtime:
            return await runtime.reap()

    try:
        assert patiently(scenario()) == 0
    finally:
        client.remove_container(container)


def test_image_show_prints_group_images_and_stale_ones(place: Place, recipe: GroupRecipe) -> None:
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
