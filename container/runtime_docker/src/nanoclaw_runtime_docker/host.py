"""Offers the docker runtime.

Without this plugin: sandboxes need another runtime, such as process, and `ncl image` is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nanoclaw_core import PluginContext, Runtime, SandboxPart, hookimpl
from nanoclaw_runtime_docker.settings import Settings

if TYPE_CHECKING:
    from nanoclaw_runtime_docker.adapter import DockerRuntime


@hookimpl
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Offer `docker`, which is taken for providers that run tools where nobody chose and it is ready."""
    yield Runtime(name="docker", connect=_connect, settings=Settings, preference=10)


def _connect(settings: Settings, context: PluginContext, parts: Sequence[SandboxPart]) -> DockerRuntime:
    from nanoclaw_runtime_docker.adapter import DockerRuntime  # asyncio is not paid for by listing plugins

    return DockerRuntime(settings, context, parts)
