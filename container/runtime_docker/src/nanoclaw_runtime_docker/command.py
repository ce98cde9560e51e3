"""`ncl image`: build the agent image, and say which one is needed and which are there."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nanoclaw_runtime_docker.build import BuildStep
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
    from nanoclaw_runtime_docker.build import build_image
    from nanoclaw_runtime_docker.engine import Engine

    settings, recipe = _wanted(invocation, base_image)
    engine = Engine(settings.docker_host, invocation.environment, settings.engine_timeout_s)
    try:
        build_image(engine, recipe, settings, partial(_show, as_json=invocation.as_json))
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
    found, trouble = [], ""
    try:
        found = sorted(_tags(engine))
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        known = error if isinstance(error, EngineRefused | EngineFailed) else explain(error, engine.address)
        trouble = str(known)
    finally:
        engine.close()
    _print(invocation.as_json, _facts(needed, recipe, found, trouble), _sentences(needed, recipe, found, trouble))
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


def _tags(engine: Any) -> list[str]:
    from nanoclaw_runtime_docker.engine import LOOK_S

    return [tag for found in engine.client(LOOK_S).images() for tag in found.get("RepoTags") or ()]


def _facts(needed: str, recipe: Recipe, found: list[str], trouble: str) -> dict[str, Any]:
    from nanoclaw_runtime_docker.recipe import REPOSITORY

    return {
        "needed": needed,
        "is_there": needed in found,
        "stale": [tag for tag in found if tag.startswith(f"{REPOSITORY}:") and tag != needed],
        "base_image": recipe.base_image,
        "python": [one.requirement for one in recipe.ingredients] + list(recipe.pip),
        "apt": list(recipe.apt),
        "npm": list(recipe.npm),
        "trouble": trouble,
    }


def _sentences(needed: str, recipe: Recipe, found: list[str], trouble: str) -> str:
    facts = _facts(needed, recipe, found, trouble)
    lines = [f"needed  {needed} ({'there' if facts['is_there'] else 'missing: ncl image build'})"]
    lines += [f"stale   {tag}" for tag in facts["stale"]]
    lines += [f"base    {recipe.base_image}"]
    lines += [f"{kind:<7} {name}" for kind in ("python", "apt", "npm") for name in facts[kind]]
    return "\n".join([*lines, *([f"engine  {trouble}"] if trouble else [])])


def _show(step: BuildStep, *, as_json: bool) -> None:
    """Show a step: to people each instruction with its time, to a terminal also the line that was said last."""
    if as_json:
        return
    where = f"[{step.elapsed_s:5.0f} s] {step.number}/{step.count}"
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{where} {step.line[:100]}", nl=step.is_new, err=True)
    elif step.is_new:
        click.echo(f"{where} {step.line}", err=True)


def _print(as_json: bool, data: Any, text: str) -> None:
    if as_json:
        click.echo(json.dumps({"id": "cli", "ok": True, "data": data}, indent=2, ensure_ascii=False))
    else:
        click.echo(text)
