"""Where every physical frame has gone: to whom it belongs, or that nothing reaches it.

Reached means: mapped by a process, a page of a page table, mapped by the kernel's own table away
from the direct map (its stacks), or pointed to from the kernel's data or a live kernel stack. The
last is a scan of words that look like pointers, so a leak can hide behind a stale pointer; what is
reported is reached by nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tools.guest.audit import Audit
from tools.guest.frames import ram
from tools.guest.memory import PAGE, RAM_BASE, GuestError
from tools.guest.processes import Process
from tools.guest.sv39 import read_table


@dataclass
class ProcessFrames:
    """Frames one process holds. `shared` ones others map too; trapframe and guard are its own."""

    process: Process
    own: int = 0
    shared: int = 0
    tables: int = 0


@dataclass
class Accounts:
    """Frame counts by use; `leaked` lists physical addresses."""

    total: int
    free: int
    kernel: int  # image, and what was handed out before the allocator ran
    kernel_tables: int
    kernel_stacks: int
    kernel_data: int  # reached from kernel data only
    processes: list[ProcessFrames]
    leaked: list[int] = field(default_factory=list)


def account(audit: Audit) -> Accounts:
    """Counts every frame; raises GuestError if this kernel's free frames cannot be known."""
    if audit.free is None:
        raise GuestError(audit.no_free_list)
    kernel, memory = audit.kernel, audit.kernel.memory
    start, end = ram(memory)
    first = _first_frame(audit)
    reached: set[int] = set()
    result = Accounts((end - start) // PAGE, 0, (first - start) // PAGE, 0, 0, 0, [])
    result.processes = [_of_process(audit, p, first, reached) for p in audit.processes.used]
    result.kernel_tables, result.kernel_stacks = _kernel_table(audit, first, reached)
    skipped = (first - start) // PAGE
    result.free = audit.free.marks.count(1, skipped)
    known = bytearray(audit.free.marks)
    for pa in reached:
        if first <= pa < end:
            known[(pa - start) // PAGE] = 1
    rest = {start + i * PAGE for i in range(skipped, len(known)) if not known[i]}
    if rest:
        pointed = _pointed_to(audit, rest)
        result.kernel_data = len(pointed)
        rest -= pointed
    result.leaked = sorted(rest)
    if kernel.root is None:
        result.leaked = []  # nothing has been set up yet
    return result


def _first_frame(audit: Audit) -> int:
    """The first frame the allocator manages."""
    number = audit.kernel.number("first_frame")
    if number is not None:
        return RAM_BASE + number * PAGE
    top = max(s.paddr + s.memsz for s in audit.kernel.elf.segments)
    return -(-top // PAGE) * PAGE


def _of_process(audit: Audit, p: Process, first: int, reached: set[int]) -> ProcessFrames:
    held = ProcessFrames(p)
    table = audit.mappings.tables.get(p.slot)
    if table is not None:
        held.tables = len(table.pages)
        reached.update(table.pages)
        for leaf in table.leaves():
            reached.add(leaf.pa)
            users = audit.mappings.frames.get(leaf.pa, [])
            held.shared += len(users) > 1
            held.own += len(users) <= 1 and leaf.pa >= first
    return held


def _kernel_table(audit: Audit, first: int, reached: set[int]) -> tuple[int, int]:
    """Pages of the kernel's table, and frames it maps at an address of their own."""
    kernel = audit.kernel
    if kernel.root is None:
        return 0, 0
    table = read_table(kernel.memory, kernel.root)
    stacks: set[int] = set()
    for r in table.ranges(contiguous=True):
        if r.va not in (r.pa, r.pa + kernel.direct) and r.pa >= RAM_BASE and r.level == 0:
            stacks.update(range(r.pa, r.pa + r.size, PAGE))
    stacks = {pa for pa in stacks if pa >= first}
    reached.update(table.pages)
    reached.update(stacks)
    return len(table.pages), len(stacks)


def _pointed_to(audit: Audit, candidates: set[int]) -> set[int]:
    """Those of `candidates` that a word in kernel data, a live kernel stack or such a frame points
    into.
    """
    kernel = audit.kernel
    memory = kernel.memory.bulk()
    spans: list[bytes] = []
    for s in kernel.elf.segments:
        if s.flags & 2:
            spans.append(memory.read(s.paddr, s.memsz & -8))
    for p in audit.processes.used:
        sp, base = p.record.number("context.sp"), p.kstack
        pa = kernel.to_pa(sp) if base and 0 <= sp - base < 4 * PAGE else None
        if pa is not None:
            spans.append(memory.read(pa, PAGE - pa % PAGE & -8))
    found: set[int] = set()
    while spans:
        words: set[int] = set()
        for data in spans:
            words.update(w & -PAGE for w in struct.unpack(f"<{len(data) // 8}Q", data))
        new = {w - kernel.direct if w >= kernel.direct else w for w in words} & candidates - found
        found |= new
        spans = [memory.read(pa, PAGE) for pa in new]
    return found
