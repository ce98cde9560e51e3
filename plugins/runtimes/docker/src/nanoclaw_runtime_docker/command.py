"""`ncl image`: build the agent image, and list the needed image and the existing ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from nanoclaw_client.output import print_json, print_text
from nanoclaw_client.terminal_text import terminal_line
from nanoclaw_wire.answer_frames import data_frame

if TYPE_CHECKING:
    from nanoclaw_runtime_docker.build import BuildStep
    from nanoclaw_runtime_docker.engine import Engine
    from nanoclaw_runtime_docker.group_image import GroupImage
    from nanoclaw_runtime_docker.recipe import Recipe
    from nanoclaw_runtime_docker.settings import Settings


@click.group(short_help="Build the image that agents live in.")
def image() -> None:
    """Build the image that agents live in, or show its contents."""


@image.command(short_help="Build the image.")
@click.option("--base-image", help="Build on this image instead of the one in the settings.")
@click.pass_obj
def build(invocation: Any, base_image: str | None) -> int:
    """Build the image for the installed plugins, and print each step."""
    from nanoclaw_runtime_docker.build import agent_build, build_image
    from nanoclaw_runtime_docker.engine import Engine

    settings, recipe = _settings_and_recipe(invocation, base_image)
    engine = Engine(settings.docker_host, invocation.environment, settings.engine_timeout_s)
    try:
        build_image(engine, agent_build(recipe, settings), settings, partial(_show, as_json=invocation.as_json))
    finally:
        engine.close()
    _print(invocation.as_json, {"image": recipe.image}, f"built {recipe.image}")
    return 0


@image.command(short_help="Show the needed image and the existing ones.")
@click.pass_obj
def show(invocation: Any) -> int:
    """Show the image that the installed plugins need, its contents, and the images that the engine has."""
    from nanoclaw_runtime_docker.engine import Engine, EngineFailed, EngineRefused, explain

    settings, recipe = _settings_and_recipe(invocation, None)
    needed = settings.image or recipe.image
    engine = Engine(settings.docker_host, invocation.environment, settings.engine_timeout_s)
    tags: list[str] = []
    groups: list[GroupImage] = []
    problem = ""
    try:
        tags, groups = _list_images(engine, needed)
    except Exception as error:  # the SDK raises errors of three libraries; `explain` maps each to one of ours
        known = error if isinstance(error, EngineRefused | EngineFailed) else explain(error, engine.address)
        problem = str(known)
    finally:
        engine.close()
    facts = _facts(needed, recipe, tags, groups, problem)
    _print(invocation.as_json, facts, _sentences(facts))
    return 0 if needed in tags else 1


def _settings_and_recipe(invocation: Any, base_image: str | None) -> tuple[Settings, Recipe]:
    from nanoclaw_core import installed_sandbox_requirements, load_settings
    from nanoclaw_runtime_docker.recipe import make_recipe
    from nanoclaw_runtime_docker.settings import Settings

    loaded = load_settings(invocation.home, invocation.environment)
    settings = loaded.for_plugin("docker", Settings, invocation.environment) or Settings()
    return settings, make_recipe(
        installed_sandbox_requirements(loaded, invocation.environment), base_image or settings.base_image
    )


def _list_images(engine: Engine, needed: str) -> tuple[list[str], list[GroupImage]]:
    """Return the names of all images of the engine, and the images of agent groups."""
    from nanoclaw_runtime_docker.engine import QUERY_TIMEOUT_S
    from nanoclaw_runtime_docker.group_image import group_images

    client = engine.client(QUERY_TIMEOUT_S)
    tags = [tag for image_data in client.images() for tag in image_data.get("RepoTags") or ()]
    return sorted(tags), list(group_images(client, needed))


def _facts(
    needed: str, recipe: Recipe, tags: Sequence[str], groups: Sequence[GroupImage], error: str
) -> dict[str, Any]:
    from nanoclaw_runtime_docker.recipe import REPOSITORY

    return {
        "needed": needed,
        "is_there": needed in tags,
        "stale": [tag for tag in tags if tag.startswith(f"{REPOSITORY}:") and tag != needed],
        "groups": [
            {"image": group.name, "group": group.group, "is_stale": group.is_stale, "is_newest": group.is_newest}
            for group in groups
        ],
        "base_image": recipe.base_image,
        "python": [source.requirement for source in recipe.distributions] + list(recipe.pip),
        "apt": list(recipe.apt),
        "npm": list(recipe.npm),
        "error": error,
    }


def _sentences(facts: Mapping[str, Any]) -> str:
    lines = [f"needed  {facts['needed']} ({'there' if facts['is_there'] else 'missing: ncl image build'})"]
    lines += [f"stale   {tag}" for tag in facts["stale"]]
    lines += [f"group   {group['image']}{_state(group)}" for group in facts["groups"]]
    lines += [f"base    {facts['base_image']}"]
    lines += [f"{kind:<7} {name}" for kind in ("python", "apt", "npm") for name in facts[kind]]
    return "\n".join([*lines, *([f"engine  {facts['error']}"] if facts["error"] else [])])


def _state(group_image: Mapping[str, Any]) -> str:
    from nanoclaw_runtime_docker.group_recipe import rebuild_command

    if not group_image["is_newest"]:
        return " (the group has a newer one)"
    if group_image["is_stale"]:
        return f" (stale: {rebuild_command(group_image['group'])})"
    return ""


def _show(step: BuildStep, *, as_json: bool) -> None:
    """Show a step's instruction with its time; on a terminal, also the last line of output."""
    if as_json:
        return
    if sys.stderr.isatty():
        summary = terminal_line(step.summary())  # the output of any program
        print(f"\r\x1b[K{summary}", end="\n" if step.is_new else "", file=sys.stderr, flush=True)
    elif step.is_new:
        print_text(step.summary(), to_stderr=True)


def _print(as_json: bool, data: Any, text: str) -> None:
    if as_json:
        print_json(data_frame(data))
    else:
        print_text(text)
