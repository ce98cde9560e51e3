"""Offers the process runtime.

Without this plugin: sandboxes need another runtime, such as docker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nanoclaw_core import PluginContext, Runtime, SandboxRequirements, hookimpl
from nanoclaw_runtime_process.settings import Settings

if TYPE_CHECKING:
    from nanoclaw_runtime_process.adapter import ProcessRuntime


@hookimpl
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Offer `process`, the default for providers that run no tools."""
    yield Runtime(name="process", connect=_connect, settings=Settings, preference=0)


def _connect(settings: Settings, context: PluginContext, requirements: Sequence[SandboxRequirements]) -> ProcessRuntime:
    from nanoclaw_runtime_process.adapter import ProcessRuntime  # here, so that listing plugins does not load asyncio

    return ProcessRuntime(settings, context, requirements)
