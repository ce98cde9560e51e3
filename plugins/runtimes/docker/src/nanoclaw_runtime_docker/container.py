"""The arguments that create a sandbox's container: pure functions of its description.

All hardening is on by default: an unprivileged user, no capability, no new privileges, a read-only root, limits for
memory (swap included), processors and processes, no network, an init process, bounded logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from nanoclaw_wire import PROTOCOL

from nanoclaw_core import Mount, Network, SandboxSpec
from nanoclaw_runtime_docker.settings import Settings

INSTANCE_LABEL, SESSION_LABEL, PROTOCOL_LABEL = "nanoclaw.instance", "nanoclaw.session", "nanoclaw.protocol"
HOME = "/home/agent"
AGENT_USER = 1000
LOG_SIZE = "1m"


@frozen
class User:
    """The user that the container's processes run as.

    Args:
        user_id: The image's own user, or the host's.
        namespace: The engine's user namespace mode; empty for the engine's default.
    """

    user_id: int
    group_id: int
    namespace: str = ""


def choose_user(host_user: int, host_group: int, *, is_rootless: bool, is_podman: bool) -> User:
    """Choose the container's user, so that the sandbox's files belong to the host's user.

    On a rootful engine it is never root. A rootless engine maps its root to the host's user, so root has no more
    rights than that user there. Podman can keep the number instead.
    """
    if is_rootless and is_podman:
        return User(host_user, host_group, "keep-id")
    if is_rootless:
        return User(0, 0)
    return User(host_user, host_group) if host_user else User(AGENT_USER, AGENT_USER)


def creation_arguments(
    spec: SandboxSpec, image: str, user: User, instance_id: str, plugin_variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of `create_container`, except `host_config` (see `host_config_arguments`)."""
    variables = {"HOME": HOME, **plugin_variables, **spec.environment}
    return {
        "image": image,
        "name": spec.name,
        "command": list(spec.arguments),
        "environment": variables,
        "user": f"{user.user_id}:{user.group_id}",
        "hostname": "sandbox",
        "use_config_proxy": False,  # the proxies of ~/.docker/config.json may hold a password
        "labels": {
            INSTANCE_LABEL: instance_id,
            SESSION_LABEL: spec.session_id,
            PROTOCOL_LABEL: str(PROTOCOL),
        },
    }


def host_config_arguments(spec: SandboxSpec, user: User, settings: Settings) -> dict[str, Any]:
    """Return the arguments of `create_host_config`: the isolation and the limits."""
    memory_bytes = spec.limits.memory_bytes
    if settings.memory_mb is not None:
        memory_bytes = min(memory_bytes, settings.memory_mb * 2**20)
    temporary = f"rw,exec,nosuid,nodev,size={settings.temporary_mb}m"
    return {
        "network_mode": settings.network if spec.network is Network.OPEN else "none",
        "mounts": _mounts(spec.mounts),
        "read_only": True,
        "tmpfs": {
            "/tmp": f"{temporary},mode=1777",
            HOME: f"{temporary},mode=0700,uid={user.user_id},gid={user.group_id}",
        },
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "mem_limit": memory_bytes,
        "memswap_limit": memory_bytes,  # the same number means no swap in addition
        "nano_cpus": int(min(spec.limits.cpus, settings.cpus or spec.limits.cpus) * 1e9),
        "pids_limit": min(spec.limits.pids, settings.pids or spec.limits.pids),
        "log_config": {"type": "json-file", "config": {"max-size": LOG_SIZE, "max-file": "1"}},
        **({"userns_mode": user.namespace} if user.namespace else {}),
    }


def _mounts(mounts: Sequence[Mount]) -> list[dict[str, Any]]:
    # "mounts", not "binds": the engine creates a missing source of a bind, as root.
    return [
        {
            "Type": "bind",
            "Source": str(mount.source),
            "Target": mount.target,
            "ReadOnly": not mount.writable,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for mount in mounts
    ]
