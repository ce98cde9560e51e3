"""nanoclaw: the host that runs people's AI assistants, and the hooks that extend it.

Import all public names from here: `from nanoclaw_core import Channel, Inbound, hookimpl`. A name is loaded at its first
use, so an import costs only the names that are used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "descriptors.administration": "Action ApprovalHandler Migration Parameter Roster Sweep Verb",
    "descriptors.channels": "Channel ChannelAdapter Receive ShowsStatus ShowsTyping",
    "descriptors.context": "PluginContext",
    "descriptors.messages": ("Address Attachment Card CardOption Inbound Outbound OutboundFile Outcome Quoted Receipt"),
    "descriptors.names": "flag_of",
    "descriptors.operations": "Operations",
    "descriptors.packages": "BuildsImages Packages",
    "descriptors.providers": "Provider TokenCount Upstream UsageReader",
    "descriptors.resources": "READ WRITE Column Resource",
    "descriptors.runtimes": "Runtime RuntimeAdapter",
    "descriptors.sandboxes": (
        "DirectoryIdentity Limits Mount Network Readiness Sandbox SandboxExit SandboxRequirements SandboxSpec"
    ),
    "descriptors.services": "GatewayEndpoint Gateway RunningService Service",
    "descriptors.votes": "Access Admission Caller DeliveryRequest PermissionRequest RequestKind Verdict Vote",
    "errors": (
        "AlreadyRunning ApprovalPending DeliveryRefused Forbidden InvalidArguments InvalidSetting MigrationError"
        " NanoclawError NotFound PluginError SandboxFailed SandboxRefused SettingsError UnknownCommand"
    ),
    "hookspecs": "hookimpl",
    "host": "Host",
    "inspection": "Checked Inspection inspect_instance",
    "instance": "InstancePaths initialise is_instance",
    "ids": "ApprovalId DeliveryId GroupId MessagingGroupId SessionId UserId WiringId new_id",
    "logs": "log_values",
    "contributions": "Contributions gateway_of installed_sandbox_requirements load_contributions",
    "plugins": "Contribution InstalledPlugin PluginReport PluginState Plugins find_installed_plugins",
    "rules": "Rule Secret above at_least each matches not_empty one_of",
    "sandboxes.held_mounts": "HeldMount change_owner hold_mounts require_mounted",
    "sandboxes.selection": "missing_reason",
    "store.agents": "ContainerConfig config_of save_config",
    "store.engage_patterns": "PatternProblem",
    "store.messaging": "check_pattern",
    "settings": "CoreSettings Settings load_settings",
    "timing": "Timing",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = tuple(_HOME_OF)  # type checkers read __init__.pyi; a test compares the two


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nanoclaw_core' has no attribute {name!r}")
    value = getattr(import_module(f"nanoclaw_core.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
