"""What is installed, for commands that do not run a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nanoclaw_core.descriptors.runtimes import SandboxPart
from nanoclaw_core.parts import collect, with_settings
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.settings import Settings


def installed_sandbox_parts(settings: Settings, environment: Mapping[str, str]) -> Sequence[SandboxPart]:
    """Return what the installed plugins want inside the sandbox image, as a host with these settings would.

    Raises:
        PluginError: Two plugins offer one name; the message names both distributions.
    """
    plugins = Plugins()
    plugins.load_installed(frozenset(settings.core.disabled_plugins))
    return with_settings(collect(plugins), plugins, settings, environment).for_sandboxes()
