"""Runs a command, and kills it when the host dies. Run it as a script: `python -I -S parent_watchdog.py COMMAND…`.

The host holds the other end of standard input. It closes when the host dies, for any reason, on every Unix. The command
runs in its own session, so that its children are killed too. SIGTERM is forwarded to the command.
"""

import contextlib
import os
import select
import signal
import sys


def main(command: list[str]) -> int:
    """Run a command and return its exit status, or 128 plus the number of the signal that ended it."""
    ended_read, ended_write = os.pipe()
    for descriptor in (ended_read, ended_write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until the handler below is installed
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
            end_group(child)  # kills the children that it left running
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def start(command: list[str]) -> int:
    """Start the command in its own session, with empty standard input, and return its process id."""
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
    """Kill all processes of the command's session that have not left its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
        os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
