"""Generates the system call filters of bubblewrap sandboxes.

    python tools/generate_seccomp.py            # seccomp_x86_64.bpf and seccomp_aarch64.bpf of the process runtime
    python tools/generate_seccomp.py --check    # writes nothing; exits 1 and names the outdated files

A filter is an array of `struct sock_filter`, see seccomp(2) and linux/filter.h. bubblewrap loads it (`--seccomp FD`).
The list follows the default profile of Docker and the blocklist of Flatpak. Its numbers are those of linux/unistd.h.

The kernel reads only the low 32 bits of each checked argument. So a filter also compares only these: a comparison of
all 64 bits could be passed by a bit that the kernel ignores (CVE-2019-10063).
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "plugins/runtimes/process/src/nanoclaw_runtime_process"
# Numbers are the same on both architectures from 424 on. The last is file_setattr of Linux 6.17: a filter refuses later
# calls with ENOSYS, because nobody has judged them. Programs then use the older call, as on an older kernel.
LAST_CALL = 469


class Numbers(NamedTuple):
    """The numbers of a call; None if the architecture lacks it."""

    x86_64: int | None
    aarch64: int | None


CHECKED = {
    "clone": Numbers(56, 220),
    "clone3": Numbers(435, 435),
    "ioctl": Numbers(16, 29),
    "personality": Numbers(135, 92),
    "socket": Numbers(41, 198),
    "socketpair": Numbers(53, 199),
}
REFUSED = {
    # keys: the kernel has one session keyring for all processes of a login, and does not separate sandboxes
    "add_key": Numbers(248, 217),
    "keyctl": Numbers(250, 219),
    "request_key": Numbers(249, 218),
    # parts of the kernel in which most vulnerabilities of the last years were found
    "bpf": Numbers(321, 280),
    "fanotify_init": Numbers(300, 262),
    "io_uring_enter": Numbers(426, 426),
    "io_uring_register": Numbers(427, 427),
    "io_uring_setup": Numbers(425, 425),
    "lookup_dcookie": Numbers(212, 18),
    "modify_ldt": Numbers(154, None),
    "perf_event_open": Numbers(298, 241),
    "userfaultfd": Numbers(323, 282),
    # mounts and namespaces
    "chroot": Numbers(161, 51),
    "fsconfig": Numbers(431, 431),
    "fsmount": Numbers(432, 432),
    "fsopen": Numbers(430, 430),
    "fspick": Numbers(433, 433),
    "mount": Numbers(165, 40),
    "mount_setattr": Numbers(442, 442),
    "move_mount": Numbers(429, 429),
    "open_tree": Numbers(428, 428),
    "open_tree_attr": Numbers(467, 467),
    "pivot_root": Numbers(155, 41),
    "setns": Numbers(308, 268),
    "umount2": Numbers(166, 39),
    "unshare": Numbers(272, 97),
    # files by handle: they pass the mounts of a sandbox
    "name_to_handle_at": Numbers(303, 264),
    "open_by_handle_at": Numbers(304, 265),
    # other processes
    "kcmp": Numbers(312, 272),
    "pidfd_getfd": Numbers(438, 438),
    "process_madvise": Numbers(440, 440),
    "process_vm_readv": Numbers(310, 270),
    "process_vm_writev": Numbers(311, 271),
    "ptrace": Numbers(101, 117),
    # the kernel's code
    "delete_module": Numbers(176, 106),
    "finit_module": Numbers(313, 273),
    "init_module": Numbers(175, 105),
    "kexec_file_load": Numbers(320, 294),
    "kexec_load": Numbers(246, 104),
    # the memory of the whole machine
    "get_mempolicy": Numbers(239, 236),
    "mbind": Numbers(237, 235),
    "migrate_pages": Numbers(256, 238),
    "move_pages": Numbers(279, 239),
    "set_mempolicy": Numbers(238, 237),
    "set_mempolicy_home_node": Numbers(450, 450),
    # administration of the machine, and obsolete calls
    "_sysctl": Numbers(156, None),
    "acct": Numbers(163, 89),
    "clock_settime": Numbers(227, 112),
    "ioperm": Numbers(173, None),
    "iopl": Numbers(172, None),
    "quotactl": Numbers(179, 60),
    "quotactl_fd": Numbers(443, 443),
    "reboot": Numbers(169, 142),
    "setdomainname": Numbers(171, 162),
    "sethostname": Numbers(170, 161),
    "settimeofday": Numbers(164, 170),
    "swapoff": Numbers(168, 225),
    "swapon": Numbers(167, 224),
    "sysfs": Numbers(139, None),
    "syslog": Numbers(103, 116),
    "uselib": Numbers(134, None),
    "ustat": Numbers(136, None),
    "vhangup": Numbers(153, 58),
}
NEW_NAMESPACES = 0x7E020000  # the flags CLONE_NEW* that clone(2) knows
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX write the input of a terminal
PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # 32-bit names of the machine, old version number, query
SOCKET_FAMILIES = (0, 1, 2, 10, 16)  # unspecified, Unix, IPv4, IPv6, netlink; AF_VSOCK (40) has no network namespace

# linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_CALLS = 0x40000000  # asm/unistd.h: __X32_SYSCALL_BIT, and AUDIT_ARCH_X86_64 as the architecture

# linux/bpf_common.h and linux/seccomp.h
LOAD, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
PERMISSION, NO_SUCH_CALL, NO_SUCH_FAMILY = (
    ERROR | number for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT)
)


class Instruction(NamedTuple):
    """A `struct sock_filter`: operation, instructions to skip if true and if false, operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


def main(arguments: Sequence[str]) -> int:
    """Write the filters, or with `--check` name the outdated ones, and return the exit status."""
    outdated = []
    for architecture in ARCHITECTURES:
        path, content = PACKAGE / f"seccomp_{architecture}.bpf", filter_of(architecture)
        if path.exists() and path.read_bytes() == content:
            continue
        outdated.append(path.name)
        if "--check" not in arguments:
            path.write_bytes(content)
    if "--check" in arguments and outdated:
        print(f"outdated, run tools/generate_seccomp.py: {', '.join(outdated)}", file=sys.stderr)
        return 1
    return 0


def filter_of(architecture: str) -> bytes:
    """Return the filter of an architecture as the kernel reads it."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program(architecture))


def program(architecture: str) -> list[Instruction]:
    """Return the instructions of a filter. Each rule ends with an answer, or continues at the next one."""
    checked = {name: getattr(numbers, architecture) for name, numbers in CHECKED.items()}
    refused = sorted(number for calls in REFUSED.values() if (number := getattr(calls, architecture)) is not None)
    rules = [
        *_load(ARCHITECTURE_AT),
        Instruction(EQUAL, 1, 0, ARCHITECTURES[architecture]),
        *_answer(KILL),  # calls of 32-bit programs have their own numbers
        *_load(NUMBER_AT),
    ]
    if architecture == "x86_64":
        rules += [Instruction(AT_LEAST, 0, 1, X32_CALLS), *_answer(KILL)]
    rules += [Instruction(GREATER, 0, 1, LAST_CALL), *_answer(NO_SUCH_CALL)]
    # A filter cannot read the flags of clone3, which are in memory. glibc uses clone instead after ENOSYS.
    rules += _if_call(checked["clone3"], _answer(NO_SUCH_CALL))
    rules += _if_call(
        checked["clone"], [*_argument(0), Instruction(ANY_BIT, 0, 1, NEW_NAMESPACES), *_refuse_or_allow()]
    )
    rules += _if_call(checked["ioctl"], [*_argument(1), *_if_one_of(TERMINAL_INPUT, PERMISSION, ALLOW)])
    rules += _if_call(checked["personality"], [*_argument(0), *_if_one_of(PERSONALITIES, ALLOW, PERMISSION)])
    for name in ("socket", "socketpair"):
        rules += _if_call(checked[name], [*_argument(0), *_if_one_of(SOCKET_FAMILIES, ALLOW, NO_SUCH_FAMILY)])
    return [*rules, *_if_one_of(refused, PERMISSION, ALLOW)]


def _load(offset: int) -> list[Instruction]:
    return [Instruction(LOAD, 0, 0, offset)]


def _argument(index: int) -> list[Instruction]:
    return _load(ARGUMENTS_AT + 8 * index)  # the low half comes first on both architectures


def _answer(action: int) -> list[Instruction]:
    return [Instruction(RETURN, 0, 0, action)]


def _refuse_or_allow() -> list[Instruction]:
    return [*_answer(PERMISSION), *_answer(ALLOW)]


def _if_call(number: int, answered: Sequence[Instruction]) -> list[Instruction]:
    """Run instructions that end with an answer if the number in the accumulator is this one."""
    return [Instruction(EQUAL, 0, len(answered), number), *answered]


def _if_one_of(values: Iterable[int], then: int, otherwise: int) -> list[Instruction]:
    """Answer by whether the accumulator has one of at most 255 values. A jump is a byte."""
    tests = list(values)
    jumps = [Instruction(EQUAL, len(tests) - place, 0, value) for place, value in enumerate(tests)]
    return [*jumps, *_answer(otherwise), *_answer(then)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
