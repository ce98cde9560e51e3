"""The bubblewrap command line of a sandbox: a pure function of its description.

1. The sandbox sees only /usr, the parts of /etc for certificates and libraries, our Python, and the mounts of the
   description. It does not see all of /etc/ssl, which holds private keys.
2. All of /proc is read-only: its files check the host's user, and some of them change the machine (/proc/sys).
3. Values go through a descriptor (`--args`), never through the argument list, which every user of the machine sees.
4. A filter refuses the system calls that administer a machine or reach much of the kernel (tools/generate_seccomp.py).
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from nanoclaw_core import Mount, Network, SandboxSpec
from nanoclaw_runtime_process.interpreter import Interpreter

USER_ID = 1000
# The first that exists is covered by bubblewrap_launcher.py; only bubblewrap sees the cover.
STAGING_DIRECTORIES = ("/mnt", "/media", "/srv", "/tmp")
HOME = "/home/agent"
SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SYSTEM_FILES = (
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
)
NETWORK_FILES = ("/etc/resolv.conf", "/etc/gai.conf")
GENERATED_FILES = {
    "/etc/passwd": f"agent:x:{USER_ID}:{USER_ID}:agent:{HOME}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": f"agent:x:{USER_ID}:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
}
# The kernel lists the keys of all processes of a user here, with their names.
HIDDEN_FILES = ("/proc/keys",)
DEFAULT_ENVIRONMENT = {"HOME": HOME, "PATH": "/usr/local/bin:/usr/bin:/bin"}


@frozen(kw_only=True)
class Isolation:
    """The isolation that all sandboxes of a runtime share.

    Args:
        temporary_bytes: The size limit of /tmp, /dev/shm and the home, each.
        forbids_namespaces: False for a bubblewrap before 0.8, which cannot forbid user namespaces inside.
        user_id: The host's user that sandboxes run as; None for the user of the host process.
        call_filter: The filter on system calls; None on a processor that has none.
    """

    temporary_bytes: int
    forbids_namespaces: bool = True
    user_id: int | None = None
    call_filter: Path | None = None


@frozen(kw_only=True)
class Descriptors:
    """Descriptors of open files that bubblewrap inherits.

    Args:
        generated: The content of each path in GENERATED_FILES.
        info: bubblewrap writes the id of the sandbox's first process here.
        release: bubblewrap waits until a byte can be read here.
        call_filter: The file `Isolation.call_filter`, or None.
    """

    generated: Mapping[str, int]
    info: int
    release: int
    call_filter: int | None = None


def command(
    spec: SandboxSpec,
    interpreter: Interpreter,
    descriptors: Descriptors,
    isolation: Isolation,
    names: Mapping[Path, str],
) -> list[str]:
    """Return the arguments of `bwrap`.

    `names` maps each directory of the interpreter and each mount's source to the path where bubblewrap finds it.
    """
    return [
        *_namespaces(spec.network, forbids_namespaces=isolation.forbids_namespaces),
        *_root(descriptors.generated, isolation.temporary_bytes),
        *_directories(interpreter.directories, names),
        *_network_files(spec.network),
        *_mounts(spec.mounts, names),
        "--remount-ro", "/",
        *_variables({**DEFAULT_ENVIRONMENT, **spec.environment}),
        "--chdir", "/",
        "--info-fd", str(descriptors.info),
        "--block-fd", str(descriptors.release),
        *([] if descriptors.call_filter is None else ["--seccomp", str(descriptors.call_filter)]),
        "--", str(interpreter.executable), *spec.arguments,
    ]  # fmt: skip


def _namespaces(network: Network, *, forbids_namespaces: bool) -> list[str]:
    shared = ["--share-net"] if network is Network.OPEN else []
    shared += ["--disable-userns"] if forbids_namespaces else []
    user = ["--unshare-user", "--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", "sandbox"]
    return ["--unshare-all", *shared, *user, "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]


def _root(generated: Mapping[str, int], temporary_bytes: int) -> list[str]:
    size = str(temporary_bytes)
    arguments = [
        "--proc",
        "/proc",
        "--remount-ro",
        "/proc",
        "--dev",
        "/dev",
        "--perms",
        "1777",
        "--size",
        size,
        "--tmpfs",
        "/dev/shm",
    ]
    for path in filter(os.path.exists, HIDDEN_FILES):
        arguments += ["--ro-bind", "/dev/null", path]
    arguments += ["--remount-ro", "/dev", "--perms", "1777", "--size", size, "--tmpfs", "/tmp"]
    arguments += ["--perms", "0700", "--size", size, "--tmpfs", HOME, "--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_LINKS:
        arguments += _system_directory(Path("/", name))
    for path in SYSTEM_FILES:
        arguments += ["--ro-bind-try", path, path]
    for path, descriptor in generated.items():
        arguments += ["--perms", "0444", "--ro-bind-data", str(descriptor), path]
    return arguments


def _directories(directories: Iterable[Path], names: Mapping[Path, str]) -> list[str]:
    return [word for directory in directories for word in ("--ro-bind", names[directory], str(directory))]


def _system_directory(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]


def _network_files(network: Network) -> list[str]:
    if network is not Network.OPEN:
        return []
    return [word for path in NETWORK_FILES for word in ("--ro-bind-try", str(Path(path).resolve()), path)]


def _mounts(mounts: Sequence[Mount], names: Mapping[Path, str]) -> Iterable[str]:
    outer_first = sorted(mounts, key=lambda mount: len(Path(mount.target).parts))  # so that no mount hides another
    for mount in outer_first:
        yield from ("--bind" if mount.writable else "--ro-bind", names[mount.source], mount.target)


def _variables(environment: Mapping[str, str]) -> Iterable[str]:
    for name, value in environment.items():
        yield from ("--setenv", name, value)


def staging_directory() -> str:
    """Return the directory that bubblewrap_launcher.py covers with its own file system."""
    return next(path for path in STAGING_DIRECTORIES if Path(path).is_dir())


def call_filter(machine: str | None = None) -> Path | None:
    """Return the filter on system calls of a processor (`uname -m`), by default this one; None if it has none."""
    path = Path(__file__).with_name(f"seccomp_{platform.machine() if machine is None else machine}.bpf")
    return path if path.exists() else None


def shown_directories(interpreter: Interpreter) -> list[Path]:
    """Return the host's directories that every sandbox sees in addition to its mounts."""
    system = (Path("/", name) for name in SYSTEM_LINKS)
    files = (Path(path) for path in SYSTEM_FILES)
    return [Path("/usr"), *interpreter.directories, *(path for path in (*system, *files) if path.is_dir())]


def counts_processes_per_sandbox(release: str | None = None) -> bool:
    """Return whether the kernel counts processes per user namespace (5.14 and later).

    Older kernels apply the limit to all processes of the host's user, so no sandbox could start on a busy desktop.
    """
    version = re.match(r"(\d+)\.(\d+)", platform.release() if release is None else release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 14)
