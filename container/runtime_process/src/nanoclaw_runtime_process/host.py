"""Offers the process runtime.

Without this plugin: sandboxes need another runtime, such as docker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nanoclaw_core import PluginContext, Runtime, SandboxPart, hookimpl
from nanoclaw_runtime_process.settings import Settings

if TYPE_CHECKING:
    from nanoclaw_runtime_process.adapter import ProcessRuntime


@hookimpl
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Offer `process`, which is taken for providers that run no tools where nobody chose."""
    yield Runtime(name="process", connect=_connect, settings=Settings, preference=0)


def _connect(settings: Settings, context: PluginContext, parts: Sequence[SandboxPart]) -> ProcessRuntime:
    from nanoclaw_runtime_process.adapter import ProcessRuntime  # asyncio is not paid for by listing plugins

    return ProcessRuntime(settings, context, parts)
