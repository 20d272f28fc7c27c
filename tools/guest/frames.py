"""Physical frames of a guest: which are free, how often the kernel thinks each is used.

The free list is walked with a bound: a frame freed twice makes it a loop. Two kinds of list are
known, by their fields: xv6's, linked through the free frames themselves, and one of frame numbers
linked through `frames[]`; and `kmem` may be an array, with a list for each hart.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Optional

from tools.guest.kernel import Kernel
from tools.guest.layout import Type
from tools.guest.memory import PAGE, RAM_BASE, GuestError, Memory


class FreeList:
    """What a walk of the free list found: `frames`, physical addresses in the order of the list.

    `problem` tells why the walk ended early; empty if it reached the end. `marks` has a byte for
    each frame of RAM from `start` on: 1 if it is on the list.
    """

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.frames: list[int] = []
        self.problem = ""
        self.marks = bytearray((end - start) // PAGE)

    def __contains__(self, pa: int) -> bool:
        return self.start <= pa < self.end and bool(self.marks[(pa - self.start) // PAGE])


def free_list(kernel: Kernel) -> FreeList:
    """The kernel's list of free frames, or its lists, one for each hart; raises GuestError if it
    has none that is known.
    """
    one = kernel.record("kmem")
    lists = [one] if one else kernel.records("kmem")
    members = [r.type.find("freelist") for r in lists]
    if not members or members[0] is None:
        raise GuestError("this kernel has no kmem.freelist: free frames are not known")
    found = FreeList(*ram(kernel.memory))
    through_frames = members[0].type.kind == "pointer"
    for r in lists:
        if through_frames:
            _linked_through_frames(kernel, found, r.number("freelist"))
        else:
            _linked_by_number(kernel, found, r.number("freelist"))
    return found


def _linked_through_frames(kernel: Kernel, found: FreeList, pointer: int) -> None:
    memory = kernel.memory.bulk() if pointer else kernel.memory
    links = memory.links()
    start, end, direct, marks = found.start, found.end, kernel.direct, found.marks
    unpack, out = struct.Struct("<Q").unpack, found.frames.append
    while pointer:
        pa = pointer - direct if direct and pointer >= direct else pointer
        if pa & PAGE - 1 or not start <= pa < end:
            found.problem = f"the free list leads to {pointer:#x}, which is not a frame"
            return
        offset = pa - start
        if marks[offset >> 12]:
            found.problem = f"frame {pa:#x} is on the free list twice: the list is a loop"
            return
        marks[offset >> 12] = 1
        out(pa)
        pointer = links[offset >> 12] if links else unpack(memory.read(pa, 8))[0]


def _linked_by_number(kernel: Kernel, found: FreeList, number: int) -> None:
    table = FrameTable.of(kernel)
    if table is None or not table.next:
        if kernel.number("frames") == 0:
            raise GuestError("the kernel has not set up its free frames yet")
        raise GuestError("kmem.freelist holds a number, but frames[] has no `next` to follow")
    following, marks, start, out = table.next, found.marks, found.start, found.frames.append
    length = min(len(following), len(marks))
    while number != 0xFFFF_FFFF:
        if number >= length:
            found.problem = f"the free list leads to frame number {number}, of {length}"
            return
        if marks[number]:
            pa = start + number * PAGE
            found.problem = f"frame {pa:#x} is on the free list twice: the list is a loop"
            return
        marks[number] = 1
        out(start + number * PAGE)
        number = following[number]


def _frames_array(kernel: Kernel) -> Optional[tuple[int, Type, int]]:
    """Address, element and length of `frames`, array or pointer; None if there is none with
    counts.
    """
    found = kernel.elf.variable("frames")
    if found is None:
        return None
    where, kind = found
    length = kind.count or kernel.number("nframes") or 0
    if kind.kind == "pointer":
        where = kernel.number("frames") or 0
    if kind.target is None or not where or not length or "count" not in kind.target.fields:
        return None
    return where, kind.target, length


@dataclass
class FrameTable:
    """The kernel's own record of each frame: `frames[]` with counts. Index: (pa - RAM_BASE) /
    PAGE.
    """

    count: array[int]
    shares: Optional[array[int]]
    next: Optional[array[int]]

    @staticmethod
    def of(kernel: Kernel) -> Optional["FrameTable"]:
        """None if this kernel does not count references."""
        found = _frames_array(kernel)
        if found is None:
            return None
        where, element, length = found
        words = array("I", kernel.read(where, length * element.size))
        step = element.size // 4

        def column(name: str) -> Optional[array[int]]:
            f = element.fields.get(name)
            return words[f.offset // 4 :: step] if f and f.type.size == 4 else None

        count = column("count")
        return None if count is None else FrameTable(count, column("shares"), column("next"))

    @staticmethod
    def address_of(kernel: Kernel, pa: int) -> Optional[int]:
        """Kernel address of the record of one frame; None if this kernel keeps none."""
        found = _frames_array(kernel)
        if found is None:
            return None
        where, element, length = found
        i = (pa - RAM_BASE) // PAGE
        if not 0 <= i < length:
            raise GuestError(f"{pa:#x} is not the address of a frame")
        return where + i * element.size

    def count_of(self, pa: int) -> Optional[int]:
        """References to the frame at a physical address; None if it is not one of these."""
        i = (pa - RAM_BASE) // PAGE
        return self.count[i] if 0 <= i < len(self.count) else None

    def shares_of(self, pa: int) -> Optional[int]:
        """Shared mappings of the frame on record; None where that is not kept."""
        i = (pa - RAM_BASE) // PAGE
        return self.shares[i] if self.shares and 0 <= i < len(self.shares) else None


def ram(memory: Memory) -> tuple[int, int]:
    """Start and end of the guest's RAM, of which only whole pages count."""
    extents = memory.extents()
    start, end = min(s for s, _ in extents), max(e for _, e in extents)
    return start, start + (end - start) // PAGE * PAGE
