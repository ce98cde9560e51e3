"""The public names with their types. `__init__.py` reads this file, and imports each name at its first use."""

from nanoclaw_settings.errors import InvalidSetting, SettingsError
from nanoclaw_settings.rules import Rule, Secret, above, at_least, between, each, matches, not_empty, one_of
from nanoclaw_untrusted.directories import DirectoryIdentity
from nanoclaw_untrusted.errors import MigrationError
from nanoclaw_untrusted.foreign_code import Checked
from nanoclaw_untrusted.installed_plugins import InstalledPlugin
from nanoclaw_wire.errors import NanoclawError

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.contributions import installed_sandbox_requirements
from nanoclaw_core.descriptors.administration import (
    Action,
    ApprovalHandler,
    Migration,
    Parameter,
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
from nanoclaw_core.descriptors.names import flag_of
from nanoclaw_core.descriptors.operations import Operations
from nanoclaw_core.descriptors.packages import BuildsImages, Packages
from nanoclaw_core.descriptors.providers import Provider, TokenCount, Upstream, UsageReader
from nanoclaw_core.descriptors.resources import READ, WRITE, Column, Resource
from nanoclaw_core.descriptors.runtimes import Runtime, RuntimeAdapter
from nanoclaw_core.descriptors.sandboxes import (
    Limits,
    Mount,
    Network,
    Readiness,
    Sandbox,
    SandboxExit,
    SandboxRequirements,
    SandboxSpec,
)
from nanoclaw_core.descriptors.services import Gateway, GatewayEndpoint, RunningService, Service
from nanoclaw_core.descriptors.votes import (
    Access,
    Admission,
    Caller,
    DeliveryRequest,
    PermissionRequest,
    RequestKind,
    Verdict,
    Vote,
)
from nanoclaw_core.errors import (
    AlreadyRunning,
    ApprovalPending,
    DeliveryRefused,
    Forbidden,
    InvalidArguments,
    NotFound,
    PluginError,
    SandboxFailed,
    SandboxRefused,
)
from nanoclaw_core.hookspecs import hookimpl
from nanoclaw_core.host import Host
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, MessagingGroupId, SessionId, UserId, WiringId, new_id
from nanoclaw_core.inspection import Inspection, MountCheck, inspect_instance, plugin_reports
from nanoclaw_core.instance import RESTORE, initialise, is_instance
from nanoclaw_core.logs import log_values
from nanoclaw_core.plugins import PluginReport, PluginState, find_installed_plugins
from nanoclaw_core.sandboxes.held_mounts import HeldMount, change_owner, hold_mounts, require_mounted
from nanoclaw_core.settings import CoreSettings, Settings, load_settings
from nanoclaw_core.store.agents import ContainerConfig, config_of, save_config
from nanoclaw_core.store.deliveries import WaitingMessages
from nanoclaw_core.store.engage_patterns import PatternProblem
from nanoclaw_core.store.messaging import check_pattern
from nanoclaw_core.timing import Timing

__version__: str
# fmt: off
__all__ = [
    "READ",
    "RESTORE",
    "WRITE",
    "Access",
    "Action",
    "Address",
    "Admission",
    "AlreadyRunning",
    "ApprovalHandler",
    "ApprovalId",
    "ApprovalPending",
    "Attachment",
    "Budgets",
    "BuildsImages",
    "Caller",
    "Card",
    "CardOption",
    "Channel",
    "ChannelAdapter",
    "Checked",
    "Column",
    "ContainerConfig",
    "CoreSettings",
    "DeliveryId",
    "DeliveryRefused",
    "DeliveryRequest",
    "DirectoryIdentity",
    "Forbidden",
    "Gateway",
    "GatewayEndpoint",
    "GroupId",
    "HeldMount",
    "Host",
    "Inbound",
    "Inspection",
    "InstalledPlugin",
    "InvalidArguments",
    "InvalidSetting",
    "Limits",
    "MessagingGroupId",
    "Migration",
    "MigrationError",
    "Mount",
    "MountCheck",
    "NanoclawError",
    "Network",
    "NotFound",
    "Operations",
    "Outbound",
    "OutboundFile",
    "Outcome",
    "Packages",
    "Parameter",
    "PatternProblem",
    "PermissionRequest",
    "PluginContext",
    "PluginError",
    "PluginReport",
    "PluginState",
    "Provider",
    "Quoted",
    "Readiness",
    "Receipt",
    "Receive",
    "RequestKind",
    "Resource",
    "Roster",
    "Rule",
    "RunningService",
    "Runtime",
    "RuntimeAdapter",
    "Sandbox",
    "SandboxExit",
    "SandboxFailed",
    "SandboxRefused",
    "SandboxRequirements",
    "SandboxSpec",
    "Secret",
    "Service",
    "SessionId",
    "Settings",
    "SettingsError",
    "ShowsStatus",
    "ShowsTyping",
    "Sweep",
    "Timing",
    "TokenCount",
    "Upstream",
    "UsageReader",
    "UserId",
    "Verb",
    "Verdict",
    "Vote",
    "WaitingMessages",
    "WiringId",
    "above",
    "at_least",
    "between",
    "change_owner",
    "check_pattern",
    "config_of",
    "each",
    "find_installed_plugins",
    "flag_of",
    "hold_mounts",
    "hookimpl",
    "initialise",
    "inspect_instance",
    "installed_sandbox_requirements",
    "is_instance",
    "load_settings",
    "log_values",
    "matches",
    "new_id",
    "not_empty",
    "one_of",
    "plugin_reports",
    "require_mounted",
    "save_config",
]
# fmt: on
