"""What a range of addresses is: text, data, stack, heap, guard, trapframe, device, kernel stack and
so on.

The answer comes from the program's own segments where its file is known, else from what the entries
say.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Optional

from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.layout import split
from tools.guest.memory import PAGE, RAM_BASE
from tools.guest.processes import Process, Processes
from tools.guest.sv39 import A, D, Range, S, Table, U, W, X

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
    """A range and what it is; `stack` is the index of the kernel stack it is part of."""

    range: Range
    what: str
    stack: Optional[int] = None


def device(pa: int) -> Optional[str]:
    """The device whose registers lie in the page at a physical address; None in RAM and where
    nothing is.
    """
    return next((n for start, end, n in DEVICES if start - start % PAGE <= pa < end), None)


class UserRegions:
    """Names the parts of one process's memory."""

    def __init__(self, kernel: Kernel, process: Process, table: Table, elf: Optional[Elf]):
        self.kernel, self.process, self.elf = kernel, process, elf
        self.size = process.size
        self.guards = [
            leaf.va for leaf in table.leaves() if not leaf.entry & U and leaf.va < (self.size or 0)
        ] + [mark.va for mark in table.problems if mark.kind == "marked"]

    @cached_property
    def trapframe(self) -> Optional[int]:
        """Physical address of the trapframe; a kernel's own mapping of it may have to be walked."""
        return self.kernel.to_pa(self.process.trapframe) if self.process.trapframe else None

    @cached_property
    def trampoline(self) -> Optional[int]:
        """Physical address of the trampoline page."""
        symbol = self.kernel.elf.symbols.get("trampoline")
        return self.kernel.to_pa(symbol.address) if symbol else None

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
    kernel: Kernel,
    process: Process,
    table: Table,
    elf: Optional[Elf],
) -> list[Row]:
    """A process's table as ranges alike in permissions that are one thing."""
    regions = UserRegions(kernel, process, table, elf)
    rows: list[Row] = []
    pa_end = 0
    for leaf in table.leaves():
        flags = leaf.entry & 0x3FF
        what = regions.what(leaf.va, leaf.pa, flags)
        r = rows[-1].range if rows and rows[-1].what == what else None
        if r is None or r.end != leaf.va or r.level != leaf.level or (r.some ^ flags) & ~(A | D):
            rows.append(Row(Range(leaf.va, leaf.pa, leaf.size, flags, flags, leaf.level), what))
        else:
            r.pieces += pa_end != leaf.pa
            r.size += leaf.size
            r.flags &= flags
            r.some |= flags
        pa_end = leaf.pa + leaf.size
    return rows


class KernelStacks:
    """Where the kernel stacks lie: at equal distances, that of slot 0 of proc[] first, those of
    harts (where they have such) after the last slot's.

    processes: given, a stack is named after who runs on it, else after its slot.
    """

    def __init__(self, kernel: Kernel, processes: Optional[Processes] = None):
        self.processes, self.slots, self.stride = processes, 0, 0
        found = kernel.elf.variable("proc")
        if found is None or found[1].target is None or found[1].count < 2:
            return
        address, array, element = found[0], found[1], found[1].target
        pair = split(array, address, kernel.read(address, 2 * element.size))[:2]
        self.first, second = (r.number("kstack") for r in pair)
        if self.first and second:
            self.slots, self.stride = array.count, second - self.first

    def index(self, va: int) -> Optional[int]:
        """Which stack a page mapped at `va` is part of; None if of none."""
        if not self.stride:
            return None
        i = (va - self.first) // abs(self.stride) * (1 if self.stride > 0 else -1)
        return i if 0 <= i < self.slots + HARTS else None

    def name(self, index: int) -> str:
        """Whose stack it is."""
        if index >= self.slots:
            return f"kernel stack of hart {index - self.slots}"
        if self.processes is None:
            return f"kernel stack of slot {index}"
        p = self.processes.slots[index]
        return "kernel stack of " + (p.label if p.used else f"slot {index}, unused")


HARTS = 64  # more there are not


def kernel_rows(kernel: Kernel, table: Table, stacks: KernelStacks) -> list[Row]:
    """The kernel's table (or the upper half of any) as ranges, cut where one thing ends and another
    begins.
    """
    bounds = _bounds(kernel)
    edges = sorted({edge for start, end, _ in bounds for edge in (start, end)})
    rows: list[Row] = []
    for r in table.ranges(contiguous=True):
        apart = r.va not in (r.pa, r.pa + kernel.direct) and not kernel.in_image(r.pa)
        index = stacks.index(r.va) if apart else None
        if index is not None:
            last = rows[-1] if rows else None
            if last and last.stack == index and last.range.end == r.va:
                last.range.size += r.size
                last.range.pieces += 1
            else:
                rows.append(Row(r, stacks.name(index), index))
            continue
        cuts = [r.pa, *(e for e in edges if r.pa < e < r.pa + r.size), r.pa + r.size]
        for start, end in zip(cuts, cuts[1:]):
            part = Range(r.va + start - r.pa, start, end - start, r.flags, r.some, r.level)
            what = next((n for low, high, n in bounds if low <= start < high), "device space")
            rows.append(Row(part, what))
    return rows


def fold_stacks(rows: list[Row]) -> list[Row]:
    """Kernel stacks, of which there are dozens, as one row for each stretch of equal permissions."""
    folded: list[Row] = []
    many = 0
    for row in rows:
        last = folded[-1] if folded else None
        alike = last and not (last.range.some ^ row.range.some) & ~(A | D)
        if last and alike and last.stack is not None and row.stack is not None:
            many += 1
            r, s = last.range, row.range
            merged = Range(r.va, r.pa, s.end - r.va, r.flags & s.flags, r.some | s.some, r.level)
            folded[-1] = Row(merged, f"{many} kernel stacks, guards between", row.stack)
        else:
            many = 1
            folded.append(row)
    return folded


def each_leaf(table: Table, rows: list[Row]) -> list[Row]:
    """Every leaf as a row of its own, called what the row it lies in is called. `rows` are those of
    the same table, in its order.
    """
    found, i = [], 0
    for leaf in table.leaves():
        while i + 1 < len(rows) and not rows[i].range.va <= leaf.va < rows[i].range.end:
            i += 1
        flags = leaf.entry & 0x3FF
        alone = Range(leaf.va, leaf.pa, leaf.size, flags, flags, leaf.level)
        found.append(Row(alone, rows[i].what))
    return found


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
