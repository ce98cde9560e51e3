"""The program that tests bubblewrap's protections from inside a sandbox."""

from __future__ import annotations

from nanoclaw_core import Limits, Network, SandboxSpec
from nanoclaw_runtime_process.bubblewrap_command import Isolation

# Exits with the reason on stderr if this bubblewrap does not isolate as it should. The filter must refuse keyctl, which
# would return the session keyring, and io_uring_setup, which would return EFAULT.
_CHECK_ISOLATION = """
import ctypes, os, sqlite3, sys
libc, expected = ctypes.CDLL(None, use_errno=True), sys.argv[1:]
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/domainname", "/proc/self/oom_score_adj"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        sys.exit(f"{path} is writable in the sandbox")
    except OSError:
        pass
try:
    if open("/proc/keys").read():
        sys.exit("the sandbox sees the kernel keys of the host")
except OSError:
    pass
if "no namespaces" in expected and libc.unshare(0x10000000) == 0:
    sys.exit("the sandbox can make user namespaces")
if "filter" in expected:
    keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    for call, arguments in ((keyctl, (0, -3, 0)), (425, (0, None))):
        if libc.syscall(call, *arguments) != -1 or ctypes.get_errno() != 1:
            sys.exit(f"the filter does not refuse the system call {call}")
"""


def probe_of(isolation: Isolation) -> SandboxSpec:
    """Return a sandbox that ends with status 0 if it has the expected protections."""
    expected = ["no namespaces"] if isolation.forbids_namespaces else []
    expected += ["filter"] if isolation.call_filter else []
    return SandboxSpec(
        session_id="",  # type: ignore[arg-type]  # an empty sandbox without a session
        name="probe",
        arguments=("-c", _CHECK_ISOLATION, *expected),
        mounts=(),
        environment={},
        runs_tools=True,
        network=Network.NONE,
        limits=Limits(),
    )
