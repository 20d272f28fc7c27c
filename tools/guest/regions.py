"""What a range of addresses is: text, data, stack, heap, guard, trapframe, device, kernel stack and
so on.

The answer comes from the program's own segments where its file is known, else from what the entries
say.
"""

from __future__ import annotations

import bisect
from typing import Iterable, NamedTuple, Optional

from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import PAGE, RAM_BASE
from tools.guest.processes import Process, Processes
from tools.guest.sv39 import A, D, Leaf, Range, S, Table, U, W, X

DEVICES = (  # QEMU virt, hw/riscv/virt.c: start, end, name
    (0x10_0000, 0x10_1000, "test finisher"),
    (0x10_1000, 0x10_2000, "clock"),
    (0x200_0000, 0x201_0000, "CLINT"),
    (0xC00_0000, 0x1000_0000, "PLIC"),
    (0x1000_0000, 0x1000_0100, "UART"),
    (0x1000_1000, 0x1000_9000, "virtio"),
    (0x3000_0000, 0x4000_0000, "PCIe"),
)


class Row(NamedTuple):
    """A range and what it is."""

    range: Range
    what: str


def device(pa: int) -> Optional[str]:
    """The device whose registers lie in the page at a physical address; None in RAM and where
    nothing is.
    """
    return next((n for start, end, n in DEVICES if start - start % PAGE <= pa < end), None)


class UserRegions:
    """Names the parts of one process's memory."""

    def __init__(self, processes: Processes, process: Process, table: Table, elf: Optional[Elf]):
        self.process, self.elf = process, elf
        kernel = processes.kernel
        self.size = process.size
        self.trapframe = kernel.to_pa(process.trapframe) if process.trapframe else None
        symbol = kernel.elf.symbols.get("trampoline")
        self.trampoline = kernel.to_pa(symbol.address) if symbol else None
        self.guards = [
            leaf.va for leaf in table.leaves() if not leaf.entry & U and leaf.va < (self.size or 0)
        ] + [mark.va for mark in table.problems if mark.kind == "marked"]

    def what(self, va: int, pa: int, flags: int) -> str:
        """The part the page at user address `va`, mapped to `pa` with these flags, belongs to."""
        if flags & S:
            return "shared"
        if not flags & U:
            if pa == self.trapframe:
                return "trapframe"
            if pa == self.trampoline:
                return "trampoline"
            return "guard" if va in self.guards else "kernel page"
        if pa < RAM_BASE:
            return device(pa) or "device"
        part = self._segment(va)
        if part:
            return part
        guard = next((g for g in self.guards if g < va), None)
        if guard is not None:
            return "stack" if va == guard + PAGE else "heap"
        if self.elf is None:
            return "text" if flags & X else "data" if flags & W else "read-only data"
        return "memory"

    def _segment(self, va: int) -> Optional[str]:
        for s in self.elf.segments if self.elf else ():
            if s.vaddr - s.vaddr % PAGE <= va < -(-(s.vaddr + s.memsz) // PAGE) * PAGE:
                names = {1: "text", 3: "text and data", 2: "data", 0: "read-only data"}
                return names[s.flags & 3]
        return None


def user_rows(
    processes: Processes,
    process: Process,
    table: Table,
    elf: Optional[Elf],
    every: bool = False,
) -> list[Row]:
    """A process's table as ranges alike in permissions that are one thing; `every`: each leaf."""
    regions = UserRegions(processes, process, table, elf)
    return merge(
        ((leaf, regions.what(leaf.va, leaf.pa, leaf.entry & 0x3FF)) for leaf in table.leaves()),
        every,
    )


def merge(leaves: Iterable[tuple[Leaf, str]], every: bool = False) -> list[Row]:
    """(leaf, what) pairs in order of address, as rows; `every`: none merged."""
    rows: list[Row] = []
    pa_end = 0
    for leaf, what in leaves:
        flags = leaf.entry & 0x3FF
        r = rows[-1].range if rows and rows[-1].what == what else None
        if (
            every
            or r is None
            or r.end != leaf.va
            or r.level != leaf.level
            or (r.some ^ flags) & ~(A | D)
        ):
            rows.append(Row(Range(leaf.va, leaf.pa, leaf.size, flags, flags, leaf.level), what))
            pa_end = leaf.pa + leaf.size
            continue
        r.pieces += pa_end != leaf.pa
        r.size += leaf.size
        r.flags &= flags
        r.some |= flags
        pa_end = leaf.pa + leaf.size
    return rows


def kernel_rows(processes: Processes, table: Table) -> list[Row]:
    """The kernel's table (or the upper half of any) as ranges, cut where one thing ends and another
    begins.
    """
    kernel = processes.kernel
    bounds = _bounds(kernel)
    edges = sorted({edge for start, end, _ in bounds for edge in (start, end)})
    stacks = sorted((p.kstack, p) for p in processes.slots if p.kstack)
    rows: list[Row] = []
    for r in table.ranges(contiguous=True):
        apart = r.va not in (r.pa, r.pa + kernel.direct) and not kernel.in_image(r.pa)
        if apart and stacks and r.va >= stacks[0][0]:
            owner = _stack_owner(stacks, r.va)
            last = rows[-1] if rows else None
            if owner and last and last.what == owner and last.range.end == r.va:
                last.range.size += r.size
                last.range.pieces += 1
                continue
            if owner:
                rows.append(Row(r, owner))
                continue
        cuts = [r.pa, *(e for e in edges if r.pa < e < r.pa + r.size), r.pa + r.size]
        for start, end in zip(cuts, cuts[1:]):
            part = Range(r.va + start - r.pa, start, end - start, r.flags, r.some, r.level)
            what = next((n for low, high, n in bounds if low <= start < high), "device space")
            rows.append(Row(part, what))
    return rows


def _stack_owner(stacks: list[tuple[int, Process]], va: int) -> Optional[str]:
    """Whose kernel stack the page at `va` is part of; None if it lies in no stack."""
    strides = [b[0] - a[0] for a, b in zip(stacks, stacks[1:])]
    stride = min(strides, default=4 * PAGE)
    i = bisect.bisect_right(stacks, va, key=lambda s: s[0]) - 1
    start, p = stacks[i]
    number = (va - start) // stride
    if va - start - number * stride >= stride // 2:
        return None
    if not number:
        user = f"of {p.label}" if p.used else f"of slot {p.slot}, unused"
        return f"kernel stack {user}"
    return f"kernel stack of hart {number - 1}" if i == len(stacks) - 1 and number <= 64 else None


def _bounds(kernel: Kernel) -> list[tuple[int, int, str]]:
    """Physical ranges that have a name: start, end, name; page-aligned, the first that fits
    counts.
    """
    named: list[tuple[int, int, str]] = []
    trampoline = kernel.elf.symbols.get("trampoline")
    if trampoline is not None:
        pa = kernel.to_pa(trampoline.address) or 0
        named.append((pa, pa + PAGE, "trampoline"))
    end = kernel.elf.symbols.get("end")
    text_end = kernel.elf.symbols.get("etext")
    for s in kernel.elf.segments:
        start, stop = s.paddr, -(-(s.paddr + s.memsz) // PAGE) * PAGE
        if s.flags & 1 and s.flags & 2 and text_end is not None:
            middle = -(-(text_end.address - s.vaddr + s.paddr) // PAGE) * PAGE
            named += [(start, middle, "kernel text"), (middle, stop, "kernel data")]
        else:
            name = "text" if s.flags & 1 else "data" if s.flags & 2 else "read-only data"
            named.append((start, stop, f"kernel {name}"))
    if end is not None and named:
        top = max(stop for _, stop, _ in named)
        named.append((top, 1 << 56, "memory for allocation"))
    named += [(start & -PAGE, -(-stop // PAGE) * PAGE, name) for start, stop, name in DEVICES]
    return named
