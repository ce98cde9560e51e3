"""The generated filters on system calls: compared with the list, and interpreted for both processors."""

from __future__ import annotations

import errno
import runpy
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nanoclaw_runtime_process.bubblewrap_command import call_filter

GENERATOR = Path(__file__).parents[4] / "tools" / "generate_seccomp.py"
LIST: dict[str, Any] = runpy.run_path(str(GENERATOR))
ALLOWED, KILLED, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = (ERROR | number for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT))
X86_32, ARM_32 = 0x40000003, 0x40000028  # linux/audit.h
machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
TESTS = {0x15: int.__eq__, 0x25: int.__gt__, 0x35: int.__ge__, 0x45: lambda value, mask: bool(value & mask)}


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Return the answer of a filter to a call: interprets the committed file, see Documentation/networking/filter."""
    path = call_filter(machine)
    assert path is not None
    program = list(struct.iter_unpack("<HBBI", path.read_bytes()))
    architecture = LIST["ARCHITECTURES"][machine] if architecture is None else architecture
    call = struct.pack("<II8x6Q", number, architecture, *arguments, *[0] * (6 - len(arguments)))
    accumulator = place = 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", call, operand)
        else:
            place += if_true if TESTS[code](accumulator, operand) else if_false


def numbers_of(machine: str) -> dict[str, int]:
    calls = {**LIST["CHECKED"], **LIST["REFUSED"]}
    return {name: number for name, call in calls.items() if (number := getattr(call, machine)) is not None}


def test_committed_filters_are_those_of_the_list() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@machines
def test_filter_refuses_the_listed_calls_only(machine: str) -> None:
    numbers = numbers_of(machine)
    refused = {numbers[name] for name in LIST["REFUSED"] if name in numbers}
    checked = {numbers[name] for name in LIST["CHECKED"]}
    expected = {number: EPERM if number in refused else ALLOWED for number in range(470) if number not in checked}
    assert {number: answer(machine, number) for number in expected} == expected


@machines
@pytest.mark.parametrize("number", [470, 1_000, 0x3FFFFFFF])
def test_filter_does_not_know_later_calls(machine: str, number: int) -> None:
    """They are not judged yet, and programs fall back to the older call."""
    assert answer(machine, number) == ENOSYS


@machines
def test_filter_kills_calls_of_32_bit_programs(machine: str) -> None:
    """Their numbers mean other calls."""
    assert [answer(machine, 20, architecture=other) for other in (X86_32, ARM_32, 0)] == [KILLED] * 3


def test_filter_kills_x32_calls() -> None:
    """They have the architecture of other calls, and could pass the list."""
    assert [answer("x86_64", 0x40000000 | number) for number in (0, 39, 520)] == [KILLED] * 3


@machines
def test_filter_answers_clone_by_its_flags(machine: str) -> None:
    """Threads and processes are allowed; glibc uses clone instead of clone3 after ENOSYS."""
    numbers = numbers_of(machine)
    threads = 0x3D0F00  # what glibc passes for a thread
    namespaces = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
    assert answer(machine, numbers["clone3"]) == ENOSYS
    assert [answer(machine, numbers["clone"], flags) for flags in (17, threads)] == [ALLOWED] * 2
    assert [answer(machine, numbers["clone"], flags | 17) for flags in namespaces] == [EPERM] * 7


@machines
@pytest.mark.parametrize("high", [0, 1 << 32, 1 << 63])
def test_filter_reads_the_half_that_the_kernel_reads(machine: str, high: int) -> None:
    """The kernel ignores the high half of these arguments."""
    numbers = numbers_of(machine)
    assert [answer(machine, numbers["ioctl"], 0, high | command) for command in (0x5412, 0x541C)] == [EPERM] * 2
    assert answer(machine, numbers["ioctl"], 0, high | 0x5401) == ALLOWED
    assert answer(machine, numbers["clone"], high | 0x10000000) == EPERM
    assert answer(machine, numbers["personality"], high | 0x40000) == EPERM
    assert answer(machine, numbers["personality"], high | 0xFFFFFFFF) == ALLOWED


@machines
@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_filter_allows_few_families_of_sockets(machine: str, name: str) -> None:
    """The family of virtual machines (40) would reach the host past the network namespace."""
    number = numbers_of(machine)[name]
    allowed = {family for family in range(64) if answer(machine, number, family) == ALLOWED}
    assert allowed == {0, 1, 2, 10, 16}
    assert answer(machine, number, 40 | 1 << 32) == EAFNOSUPPORT


def test_call_filter_of_another_processor_is_none() -> None:
    assert call_filter("riscv64") is None
