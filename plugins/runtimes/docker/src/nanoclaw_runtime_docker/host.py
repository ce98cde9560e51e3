"""Offers the docker runtime.

Without this plugin: sandboxes need another runtime, such as process, and `ncl image` does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nanoclaw_core import PluginContext, Runtime, SandboxRequirements, hookimpl
from nanoclaw_runtime_docker.settings import Settings

if TYPE_CHECKING:
    from nanoclaw_runtime_docker.adapter import DockerRuntime


@hookimpl
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Offer `docker`, the default for providers that run tools, if it is ready."""
    yield Runtime(name="docker", connect=_connect, settings=Settings, preference=10)


def _connect(settings: Settings, context: PluginContext, requirements: Sequence[SandboxRequirements]) -> DockerRuntime:
    from nanoclaw_runtime_docker.adapter import DockerRuntime  # here, so that listing plugins does not load asyncio

    return DockerRuntime(settings, context, requirements)
