"""nanoclaw: the host that runs people's AI assistants, and the hooks that extend it.

Everything public is imported from here: `from nanoclaw_core import Channel, Inbound, hookimpl`. Names are loaded when first
asked for, so that the thin `ncl` client does not pay for the host.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoclaw_core.cli.embedded import running_host
    from nanoclaw_core.cli.invocation import Invocation
    from nanoclaw_core.descriptors.administration import (
        Action,
        ApprovalHandler,
        Migration,
        Parameter,
        Resource,
        Roster,
        Sweep,
        Verb,
    )
    from nanoclaw_core.descriptors.channels import Channel, ChannelAdapter, Receive, ShowsStatus, ShowsTyping
    from nanoclaw_core.descriptors.context import PluginContext
    from nanoclaw_core.descriptors.messages import (
        Address,
        Attachment,
        Card,
        CardOption,
        Inbound,
        Outbound,
        OutboundFile,
        Outcome,
        Quoted,
        Receipt,
    )
    from nanoclaw_core.descriptors.providers import Provider, TokenCount, Upstream, UsageReader
    from nanoclaw_core.descriptors.runtimes import (
        Limits,
        Mount,
        Network,
        Readiness,
        Runtime,
        RuntimeAdapter,
        Sandbox,
        SandboxExit,
        SandboxPart,
        SandboxSpec,
    )
    from nanoclaw_core.descriptors.services import Door, Gateway, RunningService, Service
    from nanoclaw_core.descriptors.votes import (
        Access,
        Admission,
        Caller,
        DeliveryRequest,
        Step,
        StepKind,
        Verdict,
        Vote,
    )
    from nanoclaw_core.errors import (
        AlreadyRunning,
        ApprovalPending,
        DeliveryRefused,
        Forbidden,
        InvalidArguments,
        MigrationError,
        NanoclawError,
        NotFound,
        PluginError,
        SandboxFailed,
        SandboxRefused,
        SettingsError,
        TransportError,
        UnknownCommand,
    )
    from nanoclaw_core.hookspecs import hookimpl
    from nanoclaw_core.host import Host
    from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, RoomId, SessionId, UserId, WiringId
    from nanoclaw_core.installed import installed_sandbox_parts
    from nanoclaw_core.settings import CoreSettings, Settings, load_settings

__version__ = "0.1.0"

_HOMES = {
    "cli.embedded": "running_host",
    "cli.invocation": "Invocation",
    "descriptors.administration": "Action ApprovalHandler Migration Parameter Resource Roster Sweep Verb",
    "descriptors.channels": "Channel ChannelAdapter Receive ShowsStatus ShowsTyping",
    "descriptors.context": "PluginContext",
    "descriptors.messages": ("Address Attachment Card CardOption Inbound Outbound OutboundFile Outcome Quoted Receipt"),
    "descriptors.providers": "Provider TokenCount Upstream UsageReader",
    "descriptors.runtimes": (
        "Limits Mount Network Readiness Runtime RuntimeAdapter Sandbox SandboxExit SandboxPart SandboxSpec"
    ),
    "descriptors.services": "Door Gateway RunningService Service",
    "descriptors.votes": "Access Admission Caller DeliveryRequest Step StepKind Verdict Vote",
    "errors": (
        "AlreadyRunning ApprovalPending DeliveryRefused Forbidden InvalidArguments MigrationError NanoclawError NotFound"
        " PluginError SandboxFailed SandboxRefused SettingsError TransportError UnknownCommand"
    ),
    "hookspecs": "hookimpl",
    "host": "Host",
    "ids": "ApprovalId DeliveryId GroupId RoomId SessionId UserId WiringId",
    "installed": "installed_sandbox_parts",
    "settings": "CoreSettings Settings load_settings",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

# fmt: off
# Literally, because type checkers read it and do not run it; a test compares it with _HOMES.
__all__ = [
    "Access", "Action", "Address", "Admission", "AlreadyRunning", "ApprovalHandler", "ApprovalId",
    "ApprovalPending", "Attachment", "Caller", "Card", "CardOption", "Channel", "ChannelAdapter", "CoreSettings",
    "DeliveryId", "DeliveryRefused", "DeliveryRequest", "Door", "Forbidden", "Gateway", "GroupId", "Host",
    "Inbound", "InvalidArguments", "Invocation", "Limits", "Migration", "MigrationError", "Mount", "NanoclawError",
    "Network", "NotFound", "Outbound", "OutboundFile", "Outcome", "Parameter", "PluginContext", "PluginError",
    "Provider", "Quoted", "Readiness", "Receipt", "Receive", "Resource", "RoomId", "Roster", "RunningService",
    "Runtime", "RuntimeAdapter", "Sandbox", "SandboxExit", "SandboxFailed", "SandboxPart", "SandboxRefused",
    "SandboxSpec", "Service", "SessionId", "Settings", "SettingsError", "ShowsStatus", "ShowsTyping", "Step",
    "StepKind", "Sweep", "TokenCount", "TransportError", "UnknownCommand", "Upstream", "UsageReader", "UserId",
    "Verb", "Verdict", "Vote", "WiringId", "hookimpl", "installed_sandbox_parts", "load_settings", "running_host",
]
# fmt: on


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nanoclaw_core' has no attribute {name!r}")
    value = getattr(import_module(f"nanoclaw_core.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
