"""Judges a quiet guest's memory from outside: counts against page tables, free frames, locks.

Relies on tools/guest to read the memory file. QEMU is stopped for each look: one moment is seen.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

from tests.harness.guest import Guest
from tools.guest import (
    PAGE,
    RAM_BASE,
    FrameTable,
    Kernel,
    Processes,
    free_list,
    open_guest,
    read_table,
)
from tools.guest.sv39 import S

LOOKS = 8  # a tick may hold a lock, a hart be inside kalloc: only what every look shows counts


def check(guest: Guest) -> None:
    """Raises GuestFailure if several looks in a row find the same thing wrong."""
    common: set[str] | None = None
    for _ in range(LOOKS):
        guest.signal_qemu(signal.SIGSTOP)
        try:
            kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
            found = set(problems(kernel))
            kernel.memory.close()
        finally:
            guest.signal_qemu(signal.SIGCONT)
        common = found if common is None else common & found
        if not common:
            return
    raise guest.fail("the guest's memory is not in order:\n" + "\n".join(sorted(common or ())))


def problems(kernel: Kernel) -> Iterator[str]:
    """Everything wrong in one moment, one line each."""
    counts = FrameTable.of(kernel)
    kmem = kernel.record("kmem")
    if counts is None or counts.shares is None or kmem is None:
        yield "the kernel has no frames[] or no kmem"
        return
    free = free_list(kernel)
    if free.problem:
        yield free.problem
    if kmem.number("nfree") != len(free.frames):
        yield f"kmem.nfree is {kmem.number('nfree')}, the list has {len(free.frames)} frames"
    for pa in free.frames:
        if counts.count_of(pa):
            yield f"frame {pa:#x} is free and counted {counts.count_of(pa)} times"

    mapped: Counter[int] = Counter()
    shared: Counter[int] = Counter()
    owner: dict[int, str] = {}
    for process in Processes(kernel).used:
        if process.root is None:
            continue
        table = read_table(kernel.memory, process.root, "user")
        for problem in table.problems:
            yield f"{process.label}: {problem.va:#x}: {problem.text}"
        for pa in table.pages:
            owner[pa] = f"a page of the table of {process.label}"
            mapped[pa] += 1
        for leaf in table.leaves():
            owner.setdefault(leaf.pa, f"{process.label} at {leaf.va:#x}")
            mapped[leaf.pa] += 1
            shared[leaf.pa] += bool(leaf.entry & S)
    for pa, references in mapped.items():
        if pa in free:
            yield f"frame {pa:#x} is free and is {owner[pa]}"
        elif counts.count_of(pa) != references:
            yield f"frame {pa:#x} ({owner[pa]}): counted {counts.count_of(pa)}, found {references}"
        elif counts.shares[(pa - RAM_BASE) // PAGE] != shared[pa]:
            shares = counts.shares[(pa - RAM_BASE) // PAGE]
            yield f"frame {pa:#x} ({owner[pa]}): {shares} shares, found {shared[pa]}"
    yield from held_locks(kernel)


def held_locks(kernel: Kernel) -> Iterator[str]:
    """Every spinlock in a variable of the kernel that somebody holds."""
    for name, address, kind in kernel.elf.variables():
        for path, offset in kind.instances("spinlock"):
            lock = kernel.read(address + offset, 4)
            if any(lock):
                yield f"lock {name}{path} is held"
