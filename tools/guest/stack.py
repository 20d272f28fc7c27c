"""Backtraces from memory alone, by frame pointers, in the kernel and across the trap into the user
program.

With gcc's frame pointers s0 points past the frame: the return address is at s0-8, the caller's s0
at s0-16 (RISC-V ELF psABI, frame pointer convention). No register of the guest is ever changed to
get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Optional

from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import PAGE, GuestError
from tools.guest.processes import Process
from tools.guest.programs import Programs
from tools.guest.prologue import Built, built
from tools.guest.queue import read_user

DEPTH = 64  # frames at most: a damaged stack must end
STACK = 16 * PAGE  # bytes a frame chain may span
ECALL = b"\x73\x00\x00\x00"

Read = Callable[[int, int], bytes]


@dataclass
class Frame:
    """One level: where it is, in which program, and as function and line where that is known."""

    pc: int
    user: bool
    function: Optional[str]
    line: Optional[tuple[str, int]]


def kernel_frames(
    kernel: Kernel, process: Optional[Process], registers: Optional[Mapping[str, int]] = None
) -> list[Frame]:
    """The kernel's part: from `registers` (pc, s0, ra) of its hart if given, which need no process,
    else from where it left the hart.

    Empty for a process that runs and whose registers are not known.
    """
    if registers is not None:
        return _from_registers(kernel.elf, kernel.read, registers, user=False)
    if process is None or process.hart is not None:
        return []
    pc, s0 = (process.record.number(f"context.{name}") for name in ("ra", "s0"))
    return _chain(kernel.elf, kernel.read, pc, s0, True, user=False)


def user_frames(
    kernel: Kernel,
    process: Process,
    programs: Programs,
    registers: Optional[Mapping[str, int]] = None,
) -> list[Frame]:
    """The user program's part: from `registers` if the hart is in user mode, else from the
    trapframe.
    """
    if process.root is None:
        return []
    root: int = process.root
    if registers is None:
        registers = trapframe(kernel, process)
    if not registers or not registers["pc"]:
        return []

    def read(va: int, size: int) -> bytes:
        return read_user(kernel, root, va, size)

    elf = programs.find(process.name)
    pc, s0 = registers["pc"], registers["s0"]
    try:
        in_stub = read(pc - 4, 4) == ECALL or read(pc, 4) == ECALL
    except GuestError:
        in_stub = False
    if not in_stub:
        return _from_registers(elf, read, registers, user=True)
    return [_frame(elf, pc, False, True)] + _chain(elf, read, registers["ra"], s0, True, user=True)


def trapframe(kernel: Kernel, process: Process) -> dict[str, int]:
    """The user registers a process had when it last entered the kernel; empty if it has no
    trapframe.
    """
    field = process.record.type.find("trapframe")
    if field is None or field.type.target is None or not process.trapframe:
        return {}
    try:
        record = kernel.at(field.type.target, process.trapframe)
    except GuestError:
        return {}
    values = {n: record.number(n) for n in record.type.fields}
    values["pc"] = values.get("epc", 0)
    return values


def _from_registers(
    elf: Optional[Elf], read: Read, registers: Mapping[str, int], user: bool
) -> list[Frame]:
    """From any instruction, also one where the frame is not built yet or will never be."""
    pc, s0, ra = registers["pc"], registers["s0"], registers["ra"]
    state = built(elf, pc) if elf else Built.FRAME
    if state is Built.FRAME or elf is None or elf.nearest(ra) is None:
        return _chain(elf, read, pc, s0, False, user)
    if state is Built.LEAF:
        try:
            s0 = int.from_bytes(read(s0 - 8, 8), "little")
        except GuestError:
            s0 = 0
    return [_frame(elf, pc, False, user)] + _chain(elf, read, ra, s0, True, user)


def _chain(elf: Optional[Elf], read: Read, pc: int, s0: int, call: bool, user: bool) -> list[Frame]:
    """Follows frame pointers upwards, while return addresses lie in the program."""
    frames = [_frame(elf, pc, call, user)]
    first = elf.nearest(elf.entry) if elf else None
    outermost, bottom = first[0].name if first else "", s0
    while frames[-1].function != outermost and len(frames) < DEPTH:
        if s0 % 8 or not 16 <= s0 < bottom + STACK:
            break
        try:
            saved = read(s0 - 16, 16)
        except GuestError:
            break
        older, pc = int.from_bytes(saved[:8], "little"), int.from_bytes(saved[8:], "little")
        if elf is None or elf.nearest(pc - 1) is None:
            break
        frames.append(_frame(elf, pc, True, user))
        if older <= s0:
            break
        s0 = older
    return [f for f in frames if user or f.function]


def _frame(elf: Optional[Elf], pc: int, call: bool, user: bool) -> Frame:
    """call: pc is a return address, so the line is that of the instruction before it."""
    at = pc - 1 if call else pc
    found = elf.nearest(at) if elf else None
    return Frame(
        pc, user, found[0].name if found else None, elf.line(at) if elf and found else None
    )
