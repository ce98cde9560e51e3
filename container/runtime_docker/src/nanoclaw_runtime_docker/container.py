"""What a sandbox's container is made of: a pure function from its description to the engine's words.

Hardening, all of it on by default: an unprivileged user, no capability, no new privileges, a read-only root, limits for
memory (swap included), processors and processes, no network of its own, an init process, bounded logs.
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
    """Who runs inside.

    Args:
        user_id: Of the image's own user unless it is the host's.
        namespace: The engine's user namespace mode; empty leaves it alone.
    """

    user_id: int
    group_id: int
    namespace: str = ""


def choose_user(host_user: int, host_group: int, *, is_rootless: bool, is_podman: bool) -> User:
    """Say who runs inside, so that what the sandbox writes belongs to the host's user.

    Never root on a rootful engine. A rootless engine maps its root to the host's user, so root inside is nobody
    special there; Podman can keep the number instead.
    """
    if is_rootless and is_podman:
        return User(host_user, host_group, "keep-id")
    if is_rootless:
        return User(0, 0)
    return User(host_user, host_group) if host_user else User(AGENT_USER, AGENT_USER)


def creation(
    spec: SandboxSpec, image: str, user: User, instance_id: str, part_variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of `create_container` but `host_config`, whose arguments are those of `confinement`."""
    variables = {"HOME": HOME, **part_variables, **spec.environment}
    return {
        "image": image,
        "name": spec.name,
        "command": list(spec.arguments),
        "environment": variables,
        "user": f"{user.user_id}:{user.group_id}",
        "hostname": "sandbox",
        "labels": {
            INSTANCE_LABEL: instance_id,
            SESSION_LABEL: spec.session_id,
            PROTOCOL_LABEL: str(PROTOCOL),
        },
    }


def confinement(spec: SandboxSpec, user: User, settings: Settings) -> dict[str, Any]:
    """Return the arguments of `create_host_config`: everything that keeps the sandbox in."""
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
        "memswap_limit": memory_bytes,  # the same number: no swap beside it
        "nano_cpus": int(min(spec.limits.cpus, settings.cpus or spec.limits.cpus) * 1e9),
        "pids_limit": min(spec.limits.pids, settings.pids or spec.limits.pids),
        "log_config": {"type": "json-file", "config": {"max-size": LOG_SIZE, "max-file": "1"}},
        **({"userns_mode": user.namespace} if user.namespace else {}),
    }


def _mounts(mounts: Sequence[Mount]) -> list[dict[str, Any]]:
    # As "mounts", not "binds": a bind whose source is missing would be made, as root, by the engine.
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
