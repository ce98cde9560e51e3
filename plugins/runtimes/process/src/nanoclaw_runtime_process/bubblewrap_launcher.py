"""Binds the directories of a sandbox to fixed names, and runs bubblewrap on them.

bubblewrap takes directories by name, and the name may mean another directory when bubblewrap opens it. So this process
creates its own mount namespace, opens each directory again without following links, compares it with the one that the
host holds open, and binds it, by its descriptor, to a name that no other process can reach.

The sandbox gets its own session keyring. Otherwise it could use the kernel keys of the login that started the host.

If the host is root, bubblewrap runs as an unprivileged user of the host. Otherwise the sandbox's user would be root in
every check of the user instead of a capability, such as those of /proc/sys.

Run it as a script: `python -I -S bubblewrap_launcher.py FD`. FD is the descriptor of the plan.
"""

import ctypes
import errno
import marshal
import os
import resource
import select
import signal
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
PR_SET_PDEATHSIG = 1
WATCH_S = 10.0  # bubblewrap ties itself to its parent within milliseconds; a loaded machine gets 1000 times as long
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
KEYCTL = {"x86_64": 250, "aarch64": 219}  # the number of keyctl(2), for which the C library has no function
KEYCTL_JOIN_SESSION_KEYRING = 1
NO_KEYS = (errno.ENOSYS, errno.EPERM)  # no keys in this kernel, or a container forbids the call to all its processes
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LaunchRefused(Exception):
    """The sandbox cannot be created; the host gets the message."""


def main(plan_descriptor: int) -> None:
    """Execute a plan. It is marshalled, because importing json would take longer than everything else here.

    The keys of the plan:

    - `user_id`: the user that bubblewrap runs as; None if the host is not root.
    - `staging_directory`: an existing directory, which this process covers with its own file system.
    - `directories`: pairs of path and held descriptor; number N becomes `<staging_directory>/N`.
    - `control`: three descriptors, to read a process id, to release that process, and to answer.
    - `limits`: pairs of resource and limit for that process.
    - `placed`: a descriptor to wait for the byte that says that this process is in its control group.
    - `host`: the process id of the host.
    - `command`: the command to execute then.

    Raises:
        LaunchRefused: A directory differs from the one that is held open.
        OSError: The system forbids a step.
    """
    with open(plan_descriptor, "rb") as file:
        plan = marshal.load(file)
    libc = ctypes.CDLL(None, use_errno=True)
    make_namespace(libc, is_root=plan["user_id"] is not None)
    mount(libc, "none", "/", None, MS_SLAVE | MS_REC)
    # All are opened before the mount: one of them may be below the staging directory.
    opened = [(open_held(path, held), held) for path, held in plan["directories"]]
    mount(libc, "none", plan["staging_directory"], "tmpfs", 0, "mode=0755,size=1m")
    for number, (descriptor, held) in enumerate(opened):
        target = f"{plan['staging_directory']}/{number}"
        os.mkdir(target, 0o755)  # noqa: PTH102  # importing pathlib takes as long as everything else
        mount(libc, f"/proc/self/fd/{descriptor}", target, None, MS_BIND | MS_REC)
        os.close(descriptor)
        os.close(held)
    if plan["user_id"] is not None:
        os.setgroups([])
        os.setresgid(*[plan["user_id"]] * 3)
        os.setresuid(*[plan["user_id"]] * 3)
    join_new_session_keyring(libc)
    require_success(
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "this process cannot be tied to the host"
    )
    if os.getppid() != plan["host"]:
        raise LaunchRefused("the host is gone")  # it died before the prctl call
    if os.read(plan["placed"], 1) != b"!":  # the children below must start in the control group
        raise LaunchRefused("the host has not limited this process")
    os.close(plan["placed"])
    if os.fork() == 0:
        limit_and_release(*plan["control"], plan["limits"])
    for descriptor in plan["control"]:
        os.close(descriptor)
    os.execv(plan["command"][0], plan["command"])


def limit_and_release(request: int, release: int, answer: int, limits: list[tuple[int, int]]) -> None:
    """Read the id of the sandbox's first process, limit it, release it, watch it for some seconds, and exit.

    bubblewrap continues if it reads a byte or the end of the release pipe, so the pipe must not close if the host dies.
    Therefore only this process holds its end, and it kills its process group if the host dies or a limit cannot be set.
    The first process ties itself to its parent only after its release, so this process ties it to the host until then.

    This process sets the limits because it has the sandbox's user; a root host may lack the capability to limit another
    user's process. It sets them after bubblewrap has created the user namespace. An earlier limit on processes would
    count the processes of all sandboxes together.
    """
    try:
        first = 0
        for kept in (*sorted((request, release, answer)), os.sysconf("SC_OPEN_MAX")):
            os.closerange(first, kept)  # the host waits until all copies of some of them are closed
            first = kept + 1
        process_id = int(os.read(request, 32))  # empty if the host is gone, which raises ValueError
        process = os.pidfd_open(process_id)
        for kind, value in limits:
            resource.prlimit(process_id, kind, (value, value))
        os.write(release, b"!")
        os.write(answer, b"!")
        os.close(answer)
        if request in select.select([request, process], [], [], WATCH_S)[0]:
            signal.pidfd_send_signal(process, signal.SIGKILL)  # the host is gone
        os._exit(0)
    except (OSError, ValueError) as failure:
        os.write(answer, str(failure).encode())
    finally:
        os.killpg(0, signal.SIGKILL)


def make_namespace(libc: ctypes.CDLL, *, is_root: bool) -> None:
    """Create a mount namespace, and for an ordinary user the user namespace that it needs."""
    user_id, group_id = os.getuid(), os.getgid()
    flags = CLONE_NEWNS if is_root else CLONE_NEWNS | CLONE_NEWUSER
    require_success(libc.unshare(flags), "a namespace cannot be created")
    if not is_root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user_id} 1"), ("gid_map", f"0 {group_id} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def join_new_session_keyring(libc: ctypes.CDLL) -> None:
    """Replace the session keyring of the host's login by an empty one, which the sandbox's user owns."""
    number = KEYCTL.get(os.uname().machine)
    if number is None:  # the host reports this
        return
    if libc.syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None) == -1 and ctypes.get_errno() not in NO_KEYS:
        require_success(-1, "the session keyring cannot be replaced")


def open_held(path: str, held: int) -> int:
    """Open a held directory in this namespace, where descriptors of the host's namespace cannot be bound."""
    descriptor = os.open("/", DIRECTORY)
    for name in path.strip("/").split("/"):
        try:
            child = os.open(name or ".", DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            raise LaunchRefused(f"{path}: {error.strerror}; a directory changed while the sandbox started") from error
        os.close(descriptor)
        descriptor = child
    if not os.path.samestat(os.fstat(descriptor), os.fstat(held)):
        raise LaunchRefused(f"{path}: another directory took its place while the sandbox started")
    return descriptor


def mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system."""
    arguments = [source.encode(), os.fsencode(target), kind and kind.encode(), ctypes.c_ulong(flags), options.encode()]
    require_success(libc.mount(*arguments), f"{target} cannot be mounted")


def require_success(status: int, problem: str) -> None:
    """Raise OSError for a failed call."""
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{problem}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except LaunchRefused as refusal:
        sys.exit(str(refusal))
    except OSError as failure:
        sys.exit(f"{failure.strerror}: {failure.filename}" if failure.filename else failure.strerror)
