"""Run a command, and end it when whoever started us is gone. Run as a script: `python -I -S leash.py COMMAND…`.

Standard input is the leash: its other end closes when the host dies, however it dies, on every Unix. The command runs
in a session of its own, so that its children are ended with it. SIGTERM is passed on to it.
"""

import contextlib
import os
import select
import signal
import sys


def main(command: list[str]) -> int:
    """Run it and return its exit status, 128 and the number for a signal."""
    ended_read, ended_write = os.pipe()
    for descriptor in (ended_read, ended_write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # one that comes now waits for the handler below
    child = start(command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while True:
        ready, _, _ = select.select([0, ended_read], [], [])
        if ended_read in ready:
            os.read(ended_read, 512)
        if 0 in ready and not os.read(0, 512):
            end_group(child)
            return 128 + signal.SIGKILL
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            end_group(child)  # what it left running goes with it
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def start(command: list[str]) -> int:
    """Start the command in a session of its own, with nothing to read, and return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr, flush=True)
    os._exit(127)


def end_group(child: int) -> None:
    """Kill everything in the command's session that is still in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
