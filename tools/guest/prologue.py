"""How far a function has built its stack frame at an instruction, told from its code (RISC-V unprivileged
specification, RV64I and the C extension; psABI, frame pointer convention).

A function that calls nothing saves s0 but not ra, and at a function's first and last instructions
s0 is still, or again, its caller's: whoever follows frame pointers from a hart's registers must know.
"""

from __future__ import annotations

import enum
from typing import Iterator

from tools.guest.elf import Elf
from tools.guest.memory import GuestError

LONGEST = 8192  # instructions of a function that are looked at


class Built(enum.Enum):
    """What s0 points past: the caller's frame, the function's own with ra in it, or its own without."""

    NOTHING = "s0 is the caller's, ra the return address"
    FRAME = "s0-8 holds the return address, s0-16 the caller's s0"
    LEAF = "s0-8 holds the caller's s0, ra is the return address"


def built(elf: Elf, pc: int) -> Built:
    """The state of the frame when the instruction at `pc` is about to be executed."""
    found = elf.nearest(pc)
    if found is None:
        return Built.FRAME
    own = saved = restored = False
    for instruction in _instructions(elf, pc - found[1], pc):
        own |= _sets_s0(instruction)
        saved |= _saves_ra(instruction)
        # What stands behind the jump that ends an epilogue belongs to the body again.
        restored = not _jumps(instruction) and (restored or _loads_s0(instruction))
    if not own or restored:
        return Built.NOTHING
    return Built.FRAME if saved else Built.LEAF


def _instructions(elf: Elf, start: int, end: int) -> Iterator[int]:
    """The instructions in [start, end), from the file."""
    at = start
    for _ in range(LONGEST):
        if at >= end:
            return
        try:
            low = int.from_bytes(elf.bytes_at(at, 2), "little")
            wide = low & 3 == 3
            yield int.from_bytes(elf.bytes_at(at, 4), "little") if wide else low
        except GuestError:
            return
        at += 4 if wide else 2


def _sets_s0(i: int) -> bool:
    """addi s0, sp, n"""
    return i & 0xF_FFFF == 0x1_0413 if i & 3 == 3 else i & 0xE01F == 0 and i != 0


def _saves_ra(i: int) -> bool:
    """sd ra, n(sp)"""
    return i & 0x1FF_F07F == 0x11_3023 if i & 3 == 3 else i & 0xE07F == 0xE006


def _loads_s0(i: int) -> bool:
    """ld s0, n(sp)"""
    return i & 0xF_FFFF == 0x1_3403 if i & 3 == 3 else i & 0xEF83 == 0x6402


def _jumps(i: int) -> bool:
    """A jump without condition that does not come back: j, jr, ret, and a call of none."""
    if i & 3 == 3:
        return i & 0x7F in (0x67, 0x6F) and not i & 0xF80
    return i & 0xE003 == 0xA001 or i & 0xF07F == 0x8002 and i != 0x8002
