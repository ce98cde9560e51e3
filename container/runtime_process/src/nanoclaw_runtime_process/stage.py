"""Bind the directories of a sandbox to fixed names, and run bubblewrap on them.

bubblewrap takes directories by name, and a name can mean another directory by the time that it is opened. So this
process makes a mount namespace of its own, opens each directory again without following a link, compares it with the
one that the host holds open, and binds it, by its descriptor, to a name that nothing else can reach.

If the host is root, bubblewrap runs as an unprivileged user of the host. Otherwise the sandbox's user would be root for
every check that asks for the user and not for a capability, such as those of /proc/sys.

Run as a script: `python -I -S stage.py FD`, where FD holds the plan.
"""

import ctypes
import marshal
import os
import resource
import select
import signal
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
PR_SET_PDEATHSIG = 1
TIED_AFTER_S = 10.0  # it takes milliseconds; a loaded machine gets a thousand times that
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """The sandbox cannot be made; the message goes to the host."""


def main(plan_descriptor: int) -> None:
    """Carry out a plan, which the same Python marshalled: importing json takes longer than all that is done here.

    `user_id`: whom bubblewrap runs as; None if the host is not root. `stage`: an existing directory, which this process
    covers. `directories`: path and held descriptor of each; number N becomes `<stage>/N`. `gate`: descriptors to read a
    process id from, to release that process with and to answer on. `limits`: pairs of resource and limit for it.
    `host`: the process id of the host. `command`: what to run then.

    Raises:
        Refused: A directory is not the one that is held open.
        OSError: The system forbids a step.
    """
    with open(plan_descriptor, "rb") as file:
        plan = marshal.load(file)
    libc = ctypes.CDLL(None, use_errno=True)
    make_namespace(libc, is_root=plan["user_id"] is not None)
    mount(libc, "none", "/", None, MS_SLAVE | MS_REC)
    opened = [(open_held(path, held), held) for path, held in plan["directories"]]  # one may lie where the stage is
    mount(libc, "none", plan["stage"], "tmpfs", 0, "mode=0755,size=1m")
    for number, (descriptor, held) in enumerate(opened):
        target = f"{plan['stage']}/{number}"
        os.mkdir(target, 0o755)  # noqa: PTH102  # importing pathlib costs as much as all the rest
        mount(libc, f"/proc/self/fd/{descriptor}", target, None, MS_BIND | MS_REC)
        os.close(descriptor)
        os.close(held)
    if plan["user_id"] is not None:
        os.setgroups([])
        os.setresgid(*[plan["user_id"]] * 3)
        os.setresuid(*[plan["user_id"]] * 3)
    require_success(
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "this process cannot be tied to the host"
    )
    if os.getppid() != plan["host"]:
        raise Refused("the host is gone")  # it went before the line above
    if os.fork() == 0:
        keep_gate(*plan["gate"], plan["limits"])
    for descriptor in plan["gate"]:
        os.close(descriptor)
    os.execv(plan["command"][0], plan["command"])


def keep_gate(request: int, release: int, answer: int, limits: list[tuple[int, int]]) -> None:
    """Wait for the id of the sandbox's first process, limit it, release it, watch it for some seconds, and exit.

    bubblewrap goes on at the end of its gate as well as at a byte, so the gate must not end with the host: this process
    alone holds it, and kills everything in its process group if the host is gone or a limit cannot be set. The first
    process ties itself to its parent only after its release, so this one ties it to the host until then.

    The limits are set from here because this process has the sandbox's user; a root host may lack the capability to
    limit another user's process. They come after bubblewrap made its user namespace: a limit on processes that was
    there before would count the processes of all sandboxes together.
    """
    try:
        beginning = 0
        for kept in (*sorted((request, release, answer)), os.sysconf("SC_OPEN_MAX")):
            os.closerange(beginning, kept)  # the host waits for the end of some of them
            beginning = kept + 1
        process_id = int(os.read(request, 32))  # empty, and no number, if the host is gone
        process = os.pidfd_open(process_id)
        for kind, value in limits:
            resource.prlimit(process_id, kind, (value, value))
        os.write(release, b"!")
        os.write(answer, b"!")
        os.close(answer)
        if request in select.select([request, process], [], [], TIED_AFTER_S)[0]:
            signal.pidfd_send_signal(process, signal.SIGKILL)  # the host is gone
        os._exit(0)
    except (OSError, ValueError) as failure:
        os.write(answer, str(failure).encode())
    finally:
        os.killpg(0, signal.SIGKILL)


def make_namespace(libc: ctypes.CDLL, *, is_root: bool) -> None:
    """Make a mount namespace, and for an ordinary user the user namespace that allows it."""
    user_id, group_id = os.getuid(), os.getgid()
    require_success(libc.unshare(CLONE_NEWNS if is_root else CLONE_NEWNS | CLONE_NEWUSER), "a namespace cannot be made")
    if not is_root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user_id} 1"), ("gid_map", f"0 {group_id} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def open_held(path: str, held: int) -> int:
    """Open a directory in this namespace: a descriptor of the host's own mounts cannot be bound here."""
    descriptor = os.open("/", DIRECTORY)
    for name in path.strip("/").split("/"):
        try:
            below = os.open(name or ".", DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}; a directory changed while the sandbox started") from error
        os.close(descriptor)
        descriptor = below
    if not os.path.samestat(os.fstat(descriptor), os.fstat(held)):
        raise Refused(f"{path}: another directory took its place while the sandbox started")
    return descriptor


def mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Call mount(2)."""
    words = [source.encode(), os.fsencode(target), kind and kind.encode(), ctypes.c_ulong(flags), options.encode()]
    require_success(libc.mount(*words), f"{target} cannot be mounted")


def require_success(status: int, trouble: str) -> None:
    """Raise OSError for a failed call."""
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{trouble}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except Refused as refusal:
        sys.exit(str(refusal))
    except OSError as failure:
        sys.exit(f"{failure.strerror}: {failure.filename}" if failure.filename else failure.strerror)
