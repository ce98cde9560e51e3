"""`ncl image`: build the agent image, and say which one is needed and which are there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nanoclaw_runtime_docker.build import BuildStep
    from nanoclaw_runtime_docker.engine import Engine
    from nanoclaw_runtime_docker.group_image import GroupImage
    from nanoclaw_runtime_docker.recipe import Recipe
    from nanoclaw_runtime_docker.settings import Settings


@click.group(short_help="Build the image that agents live in.")
def image() -> None:
    """Build the image that agents live in, or look at it."""


@image.command(short_help="Build the image.")
@click.option("--base-image", help="Build on this image instead of the one in the settings.")
@click.pass_obj
def build(invocation: Any, base_image: str | None) -> int:
    """Build the image for the plugins that are installed now, telling of every step."""
    from nanoclaw_runtime_docker.build import agent_order, build_image
    from nanoclaw_runtime_docker.engine import Engine

    settings, recipe = _wanted(invocation, base_image)
    engine = Engine(settings.docker_host, invocation.environment, settings.engine_timeout_s)
    try:
        build_image(engine, agent_order(recipe, settings), settings, partial(_show, as_json=invocation.as_json))
    finally:
        engine.close()
    _print(invocation.as_json, {"image": recipe.image}, f"built {recipe.image}")
    return 0


@image.command(short_help="Say which image is needed, and which are there.")
@click.pass_obj
def show(invocation: Any) -> int:
    """Say which image the installed plugins need, what it is made of, and which ones the engine has."""
    from nanoclaw_runtime_docker.engine import Engine, EngineFailed, EngineRefused, explain

    settings, recipe = _wanted(invocation, None)
    needed = settings.image or recipe.image
    engine = Engine(settings.docker_host, invocation.environment, settings.engine_timeout_s)
    found: list[str] = []
    groups: list[GroupImage] = []
    trouble = ""
    try:
        found, groups = _look(engine, needed)
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        known = error if isinstance(error, EngineRefused | EngineFailed) else explain(error, engine.address)
        trouble = str(known)
    finally:
        engine.close()
    facts = _facts(needed, recipe, found, groups, trouble)
    _print(invocation.as_json, facts, _sentences(facts))
    return 0 if needed in found else 1


def _wanted(invocation: Any, base_image: str | None) -> tuple[Settings, Recipe]:
    from nanoclaw_core import installed_sandbox_parts, load_settings
    from nanoclaw_runtime_docker.recipe import recipe_of
    from nanoclaw_runtime_docker.settings import Settings

    loaded = load_settings(invocation.home, invocation.environment)
    settings = loaded.for_plugin("docker", Settings, invocation.environment) or Settings()
    return settings, recipe_of(
        installed_sandbox_parts(loaded, invocation.environment), base_image or settings.base_image
    )


def _look(engine: Engine, needed: str) -> tuple[list[str], list[GroupImage]]:
    """Return the names of all images of the engine, and those made for agent groups."""
    from nanoclaw_runtime_docker.engine import LOOK_S
    from nanoclaw_runtime_docker.group_image import group_images

    client = engine.client(LOOK_S)
    tags = [tag for found in client.images() for tag in found.get("RepoTags") or ()]
    return sorted(tags), list(group_images(client, needed))


def _facts(
    needed: str, recipe: Recipe, found: Sequence[str], groups: Sequence[GroupImage], trouble: str
) -> dict[str, Any]:
    from nanoclaw_runtime_docker.recipe import REPOSITORY

    return {
        "needed": needed,
        "is_there": needed in found,
        "stale": [tag for tag in found if tag.startswith(f"{REPOSITORY}:") and tag != needed],
        "groups": [
            {"image": one.name, "group": one.group, "is_stale": one.is_stale, "is_newest": one.is_newest}
            for one in groups
        ],
        "base_image": recipe.base_image,
        "python": [one.requirement for one in recipe.ingredients] + list(recipe.pip),
        "apt": list(recipe.apt),
        "npm": list(recipe.npm),
        "trouble": trouble,
    }


def _sentences(facts: Mapping[str, Any]) -> str:
    lines = [f"needed  {facts['needed']} ({'there' if facts['is_there'] else 'missing: ncl image build'})"]
    lines += [f"stale   {tag}" for tag in facts["stale"]]
    lines += [f"group   {one['image']}{_state(one)}" for one in facts["groups"]]
    lines += [f"base    {facts['base_image']}"]
    lines += [f"{kind:<7} {name}" for kind in ("python", "apt", "npm") for name in facts[kind]]
    return "\n".join([*lines, *([f"engine  {facts['trouble']}"] if facts["trouble"] else [])])


def _state(group_image: Mapping[str, Any]) -> str:
    from nanoclaw_runtime_docker.group_recipe import rebuild_command

    if not group_image["is_newest"]:
        return " (the group has a newer one)"
    if group_image["is_stale"]:
        return f" (stale: {rebuild_command(group_image['group'])})"
    return ""


def _show(step: BuildStep, *, as_json: bool) -> None:
    """Show a step: to people each instruction with its time, to a terminal also the line that was said last."""
    if as_json:
        return
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{step.for_people()}", nl=step.is_new, err=True)
    elif step.is_new:
        click.echo(step.for_people(), err=True)


def _print(as_json: bool, data: Any, text: str) -> None:
    if as_json:
        click.echo(json.dumps({"id": "cli", "ok": True, "data": data}, indent=2, ensure_ascii=False))
    else:
        click.echo(text)
