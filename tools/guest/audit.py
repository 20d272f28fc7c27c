"""What must hold between page tables, the free list and reference counts, recounted from memory.

Findings are evidence, not opinion: each names the frame or address and what disagrees. A guest is
best audited at a quiet point: a kernel that runs while it is read may be half-way through a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from tools.guest.frames import FrameTable, FreeList, free_list
from tools.guest.locks import cycles, find_locks
from tools.guest.memory import PAGE, RAM_BASE, GuestError
from tools.guest.processes import Process, Processes
from tools.guest.sharing import Mapping, Mappings, owner
from tools.guest.sv39 import SIZES, C, S, Table, U, W, X


@dataclass
class Finding:
    """One thing that does not hold. `level` is error or note; `data` holds the numbers, for
    programs.
    """

    kind: str
    level: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


class Audit:
    """Everything the checks need, read once; `free` and `counts` are None where the kernel has
    none.
    """

    def __init__(self, processes: Processes, mappings: Optional[Mappings] = None):
        self.processes, self.kernel = processes, processes.kernel
        self.mappings = mappings or Mappings(processes)
        self.counts = FrameTable.of(self.kernel)
        self.free: Optional[FreeList] = None
        self.no_free_list = ""
        try:
            self.free = free_list(self.kernel)
        except GuestError as e:
            self.no_free_list = str(e)

    def run(self) -> list[Finding]:
        """All checks that make sense at any stop."""
        checks: list[Callable[[], list[Finding]]] = [
            self.free_list,
            self.freed_but_mapped,
            self.sharing,
            self.reference_counts,
            self.tables,
            self.deadlocks,
        ]
        return [finding for check in checks for finding in check()]

    def quiet(self) -> list[Finding]:
        """run(), and what must hold when nothing runs in the kernel: no lock is held."""
        held = [
            Finding(
                "lock-held",
                "error",
                f"{lock.expression} is held" + (f", taken in {lock.place}" if lock.place else ""),
                {"lock": lock.expression, "address": lock.address},
            )
            for lock in find_locks(self.processes)
            if lock.held
        ]
        return self.run() + held

    # Each check returns its findings

    def free_list(self) -> list[Finding]:
        """Does the free list end, inside memory, with every frame on it once?"""
        if self.free is None or not self.free.problem:
            return []
        return [Finding("free-list", "error", self.free.problem, {"length": len(self.free.frames)})]

    def freed_but_mapped(self) -> list[Finding]:
        """Frames on the free list that a page table still reaches as a leaf."""
        found = []
        if self.free is None:
            return []
        for pa, leaves in self.mappings.frames.items():
            if pa in self.free:
                where = ", ".join(f"pid {m.process.pid} at {m.va:#x}" for m in leaves)
                found.append(
                    Finding(
                        "freed-but-mapped",
                        "error",
                        f"frame {pa:#x} is on the free list but mapped: {where}",
                        {"frame": pa, "mappings": [[m.process.pid, m.va] for m in leaves]},
                    )
                )
        return found

    def sharing(self) -> list[Finding]:
        """The shared bit: it needs a partner, and one mapping without it."""
        found = []
        for pa, leaves in self.mappings.shared().items():
            marked = [m for m in leaves if m.shared_in]
            if not marked or owner(leaves) is not None:
                found += self._unmarked(pa, leaves)
                continue
            m, more = marked[0], len(marked) - 1
            where = f"pid {m.process.pid} at {m.va:#x}" + (f" and {more} more" if more else "")
            data = {"frame": pa, "pid": m.process.pid, "va": m.va}
            if self.counts is not None:
                text = f"frame {pa:#x} is shared into {where}, and its owner has let go of it"
                found.append(Finding("owner-gone", "note", text, data))
            elif self.free is not None and pa in self.free:
                continue  # freed-but-mapped says more
            else:
                text = (
                    f"frame {pa:#x}: {where} has the shared bit but no other process maps it:"
                    " a private copy (fork?), or its owner has gone; unmapping will lose the frame"
                )
                found.append(Finding("no-partner", "error", text, data))
        return found

    def _unmarked(self, pa: int, leaves: list[Mapping]) -> list[Finding]:
        """Frames that several processes map without a shared bit, in a kernel that counts
        nothing.
        """
        plain = [m for m in leaves if not m.shared_in]
        if self.counts is not None or len(plain) < 2 or any(m.entry & C for m in plain):
            return []
        where = ", ".join(f"pid {m.process.pid} at {m.va:#x}" for m in plain)
        text = f"frame {pa:#x} has several owners, each without the shared bit: {where}"
        return [Finding("two-owners", "error", text, {"frame": pa})]

    def reference_counts(self) -> list[Finding]:
        """Each frame's count against the leaves that reach it, where the kernel counts."""
        if self.counts is None:
            return []
        found = []
        for pa, leaves in self.mappings.frames.items():
            count = self.counts.count_of(pa)
            if count is not None and count != len(leaves):
                text = f"frame {pa:#x} has count {count} but {len(leaves)} mappings"
                data = {"frame": pa, "count": count, "mappings": len(leaves)}
                found.append(Finding("count", "error", text, data))
            shares = self.counts.shares_of(pa)
            marked = sum(m.shared_in for m in leaves)
            if shares is not None and shares != marked:
                text = f"frame {pa:#x} has {shares} shares on record but {marked} shared mappings"
                data = {"frame": pa, "shares": shares, "mappings": marked}
                found.append(Finding("shares", "error", text, data))
        return found

    def tables(self) -> list[Finding]:
        """check_table() for every process."""
        found = []
        for p in self.processes.used:
            found += self.table(p)
        return found

    def table(self, p: Process) -> list[Finding]:
        """One process's user table: damaged entries, leaves against sz, permissions, kernel
        frames.
        """
        table = self.mappings.tables.get(p.slot)
        if table is None:
            return []
        found = self.bare_table(table, p)
        size = -(-(p.size or 0) // PAGE) * PAGE
        present = [(x.va, x.va + x.size) for x in table.problems if x.kind == "marked"]
        for va, pa, entry, level in table.leaves():
            user = bool(entry & (U | S))
            present.append((va, va + SIZES[level]))
            if user and va >= size and p.size is not None and p.state != "ZOMBIE":
                found.append(self._leaf(p, "above-sz", f"is mapped above sz ({p.size:#x})", va, pa))
            if user and pa >= RAM_BASE and self.kernel.in_image(pa):
                what = f"lets the user into kernel frame {pa:#x}"
                found.append(self._leaf(p, "kernel-frame", what, va, pa))
        if p.state != "ZOMBIE":
            found += self._holes(p, size, present)
        return found

    def bare_table(self, table: Table, p: Optional[Process] = None) -> list[Finding]:
        """Any table: damaged entries, W with X, table pages on the free list."""
        who = p.label if p else f"table {table.root:#x}"
        pid = p.pid if p else None
        found = [
            Finding(
                f"entry-{problem.kind}",
                "error",
                f"{who}: level {problem.level} entry for {problem.va:#x}: {problem.text}",
                {"pid": pid, "va": problem.va, "entry": problem.entry},
            )
            for problem in table.problems
            if problem.kind != "marked"
        ]
        for r in table.ranges():
            if r.flags & W and r.flags & X:
                text = f"{who}: {r.va:#x}..{r.end - 1:#x} is writable and executable"
                found.append(Finding("w-and-x", "note", text, {"pid": pid, "va": r.va}))
        for pa in table.pages if self.free else ():
            if self.free and pa in self.free:
                text = f"{who}: table page {pa:#x} is on the free list"
                found.append(Finding("freed-table", "error", text, {"frame": pa, "pid": pid}))
        return found

    @staticmethod
    def _leaf(p: Process, kind: str, what: str, va: int, pa: int, level: str = "error") -> Finding:
        data = {"pid": p.pid, "va": va, "pa": pa}
        return Finding(kind, level, f"{p.label}: page {va:#x} {what}", data)

    @staticmethod
    def _holes(p: Process, size: int, present: list[tuple[int, int]]) -> list[Finding]:
        """Stretches below sz where nothing is: lazy pages, or an unmapping gone wrong. `present`:
        start and end of each mapping.
        """
        found = []
        reached = 0
        for start, end in [*sorted(present), (size, size)]:
            start = min(start, size)
            if start > reached:
                text = f"{p.label}: nothing is mapped in {reached:#x}..{start - 1:#x}, below sz"
                data = {"pid": p.pid, "va": reached, "end": start}
                found.append(Finding("hole", "note", text, data))
            reached = max(reached, end)
        return found

    def deadlocks(self) -> list[Finding]:
        """Cycles among those who wait for locks, as far as memory alone shows them."""
        found = []
        for cycle in cycles(find_locks(self.processes)):
            steps = [f"{party_label(who)} waits for {lock.expression}" for who, lock in cycle]
            found.append(Finding("deadlock", "error", "deadlock: " + ", ".join(steps)))
        return found


def party_label(party: Any) -> str:
    """How messages call a hart or a process."""
    if isinstance(party, Process):
        return party.label
    return f"hart {party.number}" + (f", running {party.process.label}" if party.process else "")
