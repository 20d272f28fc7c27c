"""Physical frames of a guest: which are free, how often the kernel thinks each is used.

The free list is walked with a bound: a frame freed twice makes it a loop. Two kinds of list are
known, by their fields: xv6's, linked through the free frames themselves, and one of frame numbers
linked through `frames[]`.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Optional

from tools.guest.kernel import Kernel
from tools.guest.layout import Type
from tools.guest.memory import PAGE, RAM_BASE, GuestError, Memory


@dataclass
class FreeList:
    """What a walk of the free list found. `problem` tells why it ended early; empty if it reached
    its end.
    """

    frames: list[int] = field(default_factory=list)  # physical addresses, in list order
    problem: str = ""

    def __contains__(self, pa: int) -> bool:
        return pa in self._set

    def __post_init__(self) -> None:
        self._set: set[int] = set()


def free_list(kernel: Kernel) -> FreeList:
    """The kernel's list of free frames; raises GuestError if it has none that is known."""
    kmem = kernel.record("kmem")
    member = kmem.type.find("freelist") if kmem else None
    if kmem is None or member is None:
        raise GuestError("this kernel has no kmem.freelist: free frames are not known")
    found = FreeList()
    head = kmem.number("freelist")
    if member.type.kind == "pointer":
        _linked_through_frames(kernel, found, head)
    else:
        _linked_by_number(kernel, found, head)
    found._set = set(found.frames)
    return found


def _linked_through_frames(kernel: Kernel, found: FreeList, pointer: int) -> None:
    memory = kernel.memory.bulk() if pointer else kernel.memory
    seen: set[int] = set()
    (start, end), direct = ram(memory), kernel.direct
    read, unpack, out = memory._fetch, struct.Struct("<Q").unpack, found.frames.append
    while pointer:
        pa = pointer - direct if direct and pointer >= direct else pointer
        if pa in seen:
            found.problem = f"frame {pa:#x} is on the free list twice: the list is a loop"
            return
        if pa & PAGE - 1 or not start <= pa < end:
            found.problem = f"the free list leads to {pointer:#x}, which is not a frame"
            return
        seen.add(pa)
        out(pa)
        (pointer,) = unpack(read(pa, 8))


def _linked_by_number(kernel: Kernel, found: FreeList, number: int) -> None:
    table = FrameTable.of(kernel)
    if table is None or not table.next:
        if kernel.number("frames") == 0:
            raise GuestError("the kernel has not set up its free frames yet")
        raise GuestError("kmem.freelist holds a number, but frames[] has no `next` to follow")
    seen = bytearray(len(table.next))
    while number != 0xFFFF_FFFF:
        if number >= len(seen):
            found.problem = f"the free list leads to frame number {number}, of {len(seen)}"
            return
        if seen[number]:
            found.problem = (
                f"frame {RAM_BASE + number * PAGE:#x} is on the free list twice: the list is a loop"
            )
            return
        seen[number] = 1
        found.frames.append(RAM_BASE + number * PAGE)
        number = table.next[number]


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
    """Start and end of the guest's RAM."""
    extents = memory.extents()
    return min(s for s, _ in extents), max(e for _, e in extents)
