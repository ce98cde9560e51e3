"""Attacks on the kernel from a sandbox in bubblewrap: system calls and kernel keys (audit S9, S10)."""

import ctypes
import errno
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
from claude_agent_sdk import __file__ as claude_package

from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_scenario import run

pytestmark = [pytest.mark.invariant(number=6), pytest.mark.bubblewrap]
MACHINE = os.uname().machine
PROCESS = "nanoclaw_runtime_process.host"
JOIN_SESSION_KEYRING, SESSION_KEYRING = 1, -3
KEYS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key, keyctl
with_filter = pytest.mark.skipif(MACHINE not in KEYS, reason="no filter exists for this processor")
only_x86 = pytest.mark.skipif(MACHINE != "x86_64", reason="a call of this processor")
# Without a filter none of these calls fails with EPERM: they succeed, or fail because of their arguments.
CALLS = {
    "add_key": (248, 217, 0, 0, 0, 0, 0),
    "request_key": (249, 218, 0, 0, 0, 0),
    "keyctl": (250, 219, 0, -3, 0),
    "io_uring_setup": (425, 425, 0, 0),
    "io_uring_enter": (426, 426, -1, 0, 0, 0, 0, 0),
    "perf_event_open": (298, 241, 0, 0, 0, 0, 0),
    "bpf": (321, 280, 999, 0, 0),
    "unshare of the working directory": (272, 97, 0x200),
    "setns": (308, 268, -1, 0),
    "clone with a user namespace": (56, 220, 0x10000011, 0, 0, 0, 0),
    "ptrace of the parent": (101, 117, 0, 0, 0, 0),
    "process_vm_readv": (310, 270, 1, 0, 0, 0, 0, 0),
    "kcmp": (312, 272, 1, 1, 0, 0, 0),
    "pidfd_getfd": (438, 438, -1, 0, 0),
    "name_to_handle_at": (303, 264, -1, 0, 0, 0, 0),
    "set_mempolicy": (238, 237, 0, 0, 0),
    "personality without random addresses": (135, 92, 0x40000),
}
ERRNO_OF_CALLS = """
import ctypes
libc, found = ctypes.CDLL(None, use_errno=True), {{}}
for name, (on_x86, on_arm, *arguments) in {calls!r}.items():
    number = on_x86 if os.uname().machine == "x86_64" else on_arm
    result = libc.syscall(number, *map(ctypes.c_long, arguments))
    if name.startswith("clone") and result == 0:
        os._exit(0)
    found[name] = ctypes.get_errno() if result == -1 else "succeeds"
answer(found)
"""
# A call of a 32-bit program in a 64-bit one: mov eax, 20; int 0x80; ret
CALL_AS_32_BIT = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
answer("survived")
"""
CALL_AS_X32 = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 | 39); answer('survived')"
FIND_KEY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
found = libc.syscall({keyctl}, 10, {keyring}, b"user", b"{name}", 0)
try:
    listed = "{name}" in open("/proc/keys").read()
except OSError:
    listed = False
answer([found, ctypes.get_errno(), listed])
"""
GIT = """
set -e
cd /tmp && git init -q one && cd one && git config user.email a@b.c && git config user.name a
echo text >file && git add file && git commit -qm first && cd .. && git clone -q one two && cat two/file
"""
NODE = """
const { Worker } = require("worker_threads");
const { execFileSync } = require("child_process");
const { readFile } = require("fs/promises");
const answer = "require('worker_threads').parentPort.postMessage('text')";
new Worker(answer, { eval: true }).on("message", async (message) => {
  await readFile("/etc/passwd");
  console.log(execFileSync("echo", [message], { encoding: "utf8" }));
});
"""
NPM = """
set -e
mkdir -p /tmp/dependency /tmp/project && cd /tmp/dependency
echo '{"name":"dependency","version":"1.0.0","scripts":{"postinstall":"echo text >/tmp/built"}}' >package.json
cd /tmp/project && echo '{"name":"project","version":"1.0.0"}' >package.json
npm install --offline --no-audit --no-fund --install-links --silent ../dependency >/dev/null && cat /tmp/built
"""
PIP = f"""
set -e
{sys.executable} -m pip install -q --no-index --no-deps --no-compile --target /tmp/site $IN/*.whl
PYTHONPATH=/tmp/site {sys.executable} -m text_of
"""
PYTHON = """
import multiprocessing, subprocess, threading
thread = threading.Thread(target=print)
thread.start()
thread.join()
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
print(subprocess.run(["echo", "text"], capture_output=True, text=True).stdout)
"""
PROGRAMS = {
    "git": ("sh", GIT),
    "node": ("node", NODE),
    "npm": ("sh", NPM),
    "pip": ("sh", PIP),
    "python": (sys.executable, PYTHON),
}
RUN = "import subprocess\nanswer(subprocess.run({!r}, capture_output=True, text=True).stdout.strip())"
CLAUDE = Path(claude_package).with_name("_bundled") / "claude"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path, PROCESS, {})


@with_filter
def test_calls_that_reach_the_kernel_are_refused(place: Place) -> None:
    run(place, ERRNO_OF_CALLS.format(calls=CALLS))
    assert place.answer() == dict.fromkeys(CALLS, errno.EPERM)


@with_filter
def test_socket_to_the_virtual_machine_is_refused(place: Place) -> None:
    """Its family has no network namespace, so it would reach the host of a machine without network."""
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); answer([libc.socket(40, 1, 0), ctypes.get_errno()])"
    )
    run(place, code)
    assert place.answer() == [-1, errno.EAFNOSUPPORT]


@only_x86
@pytest.mark.parametrize("code", [CALL_AS_32_BIT, CALL_AS_X32], ids=["i386", "x32"])
def test_call_of_another_architecture_ends_the_program(place: Place, code: str) -> None:
    """Its number means another call, so a filter on numbers could be passed."""
    assert run(place, code).code == -signal.SIGSYS
    assert not (place.outgoing / "answer.json").exists()


@with_filter
def test_kernel_key_of_the_host_is_out_of_reach(place: Place) -> None:
    """A login keeps keys of Kerberos or of encrypted disks in its session keyring, which its processes inherit."""
    add_key, keyctl = KEYS[MACHINE]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(keyctl, JOIN_SESSION_KEYRING, None) > 0
    assert libc.syscall(add_key, b"user", place.name.encode(), b"secret", 6, SESSION_KEYRING) > 0
    run(place, FIND_KEY.format(keyctl=keyctl, keyring=SESSION_KEYRING, name=place.name))
    assert place.answer() == [-1, errno.EPERM, False]


@pytest.mark.parametrize("program", PROGRAMS)
def test_common_program_works_in_a_sandbox(place: Place, program: str) -> None:
    """The filter refuses nothing that they need."""
    if program in ("git", "node", "npm") and not shutil.which(program, path="/usr/bin"):
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{program} is not on this machine")
    with zipfile.ZipFile(place.incoming / "text_of-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("text_of.py", "print('text')")
        wheel.writestr("text_of-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: text_of\nVersion: 1\n")
        wheel.writestr("text_of-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
        wheel.writestr("text_of-1.dist-info/RECORD", "")
    interpreter, script = PROGRAMS[program]
    (place.incoming / "script").write_text(script)
    run(place, RUN.format([interpreter, "/workspace/in/script"]))
    assert place.answer() == "text"


def test_claude_starts_in_a_sandbox(place: Place) -> None:
    """tests/end_to_end/test_claude.py has its conversations."""
    run(place, RUN.format([str(CLAUDE), "--version"]))
    assert "Claude Code" in place.answer()
