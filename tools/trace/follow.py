"""Follows the trace rings of a guest into a trace file: live through its RAM file, or once from a guest that is
halted or dead. Reading costs the guest nothing.

The rings' protocol is tools/guest/ring.py's; here is only how often they are read, and what else a file needs to
be understood: who the processes were, their page tables, which events were on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import numpy as np

from tools.guest import Kernel, Processes, read_table
from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.guest.ring import Ring, rings
from tools.trace.table import RECORD, Table
from tools.trace.tracefile import FREQUENCY, MASK, PROCESS, Symbols, Writer

QUICK = 0.0005  # seconds between reads while events stream in
SLOW = 0.02  # and while there are none, if the rings are large enough
FASTEST = 1_000_000  # events a second of one hart, for which the pauses are chosen


def symbols_of(elf: Elf) -> Symbols:
    """The functions and variables of a kernel, by address: of its upper half, if it is linked there."""
    low = min((s.vaddr for s in elf.segments), default=0)
    low = 1 << 63 if any(s.vaddr >> 63 for s in elf.segments) else low
    rows = sorted(
        {(s.address, s.size, s.name) for s in elf.symbols.values() if s.address >= low and s.name}
    )
    addresses = np.array([r[0] for r in rows], "<u8")
    return Symbols(addresses, np.array([r[1] for r in rows], "<u8"), [r[2] for r in rows])


def build_id(path: str) -> str:
    """What tells one kernel from another: the SHA-256 of its file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]


def table_of(elf: Elf) -> Table:
    """The events a kernel knows; raises GuestError if it has none."""
    table = Table.of(elf)
    if not table.events:
        raise GuestError(f"{elf.path}: this kernel has no trace events")
    return table


@contextmanager
def promptly() -> Iterator[None]:
    """Where this process may, it runs before others while it follows a guest, so that a busy machine costs no events;
    it sleeps most of the time, and its children run as before.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        low = os.sched_param(os.sched_get_priority_min(os.SCHED_RR) + 1)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, low)
    except OSError:  # not permitted
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


class Follower:
    """Reads a guest's rings again and again. `records` of poll() are as they lay in the rings."""

    def __init__(self, kernel: Kernel, live: bool, table: Optional[Table] = None):
        """live: the guest runs while it is read. table: for a kernel that has none of its own."""
        self.kernel, self.live = kernel, live
        self.table = table or table_of(kernel.elf)
        self.rings: list[Ring] = []
        self.positions: dict[int, int] = {}
        self.lost = 0  # since the first poll
        self.started = False

    def find(self) -> bool:
        """Whether the rings are there yet; a guest makes them early in its boot."""
        if not self.rings and self.recorded():  # the kernel sets the mask when all rings are there
            try:
                self.rings = rings(self.kernel)
            except GuestError:
                self.rings = []
            self.positions = {ring.hart: 0 for ring in self.rings}
        return bool(self.rings)

    @property
    def frequency(self) -> int:
        """Ticks in a second."""
        return self.rings[0].frequency if self.rings else FREQUENCY

    @property
    def pause(self) -> float:
        """Seconds that may pass between reads while nothing happens: no ring is more than half full after them."""
        capacity = min((ring.capacity for ring in self.rings), default=2 * FASTEST)
        return min(SLOW, capacity / 2 / FASTEST)

    def skip(self) -> None:
        """Forgets what the rings hold now."""
        for ring in self.rings:
            self.positions[ring.hart] = ring.head()

    def poll(self) -> np.ndarray:
        """The records that are new."""
        parts = []
        for ring in self.rings:
            position = self.positions[ring.hart]
            if self.live and ring.head() == position:
                continue
            copy = ring.copy(position, stopped=not self.live)
            if self.started:
                self.lost += copy.lost
            records = np.frombuffer(copy.data, RECORD)
            self.positions[ring.hart] = copy.end
            parts.append(records)
        self.started = True
        return np.concatenate(parts) if parts else np.zeros(0, RECORD)

    def processes(self, now: int) -> np.ndarray:
        """The processes as they are now, as rows of a trace file."""
        rows = []
        for p in Processes(self.kernel).used:
            parent = p.parent.pid if p.parent else 0
            rows.append((now, p.root or 0, p.size or 0, p.pid, parent, p.name.encode()))
        return np.array(rows, PROCESS)

    def mappings(self, now: int) -> np.ndarray:
        """What is mapped now, as records that were not emitted (sequence 0)."""
        pte_set = self.table.id("pte_set")
        rows: list[tuple[Any, ...]] = []
        for p in Processes(self.kernel).used:
            if not p.root or pte_set < 0:
                continue
            for leaf in read_table(self.kernel.memory, p.root, "user").leaves():
                rows.append(
                    (now, 0, pte_set, 0, p.pid, (p.root, leaf.va, leaf.pa, leaf.entry & 0x3FF, 0))
                )
        return np.array(rows, RECORD)

    def recorded(self) -> int:
        """The mask of events that are on now."""
        return self.kernel.number("trace_mask") or 0


def describe(follower: Follower, writer: Writer, **facts: Any) -> None:
    """Writes what makes the file readable without this guest."""
    path = follower.kernel.elf.path
    facts |= {
        "kernel": Path(path).name,
        "build_id": build_id(path),
        "frequency": follower.frequency,
    }
    facts |= {"harts": len(follower.rings), "created": time.strftime("%Y-%m-%d %H:%M:%S")}
    writer.about(facts, symbols_of(follower.kernel.elf))


def snapshot(follower: Follower, writer: Writer) -> None:
    """Writes who runs and what is mapped, for a recording that begins in the middle of a run.

    Reading a guest that runs can meet a table half changed; what cannot be read is left out.
    """
    heads = [ring.copy(max(0, ring.head() - 1), stopped=False).data for ring in follower.rings]
    times = [int(np.frombuffer(data, RECORD)["time"][-1]) for data in heads if data]
    now = max(times, default=0)
    try:
        writer.chunk(b"process", follower.processes(now).tobytes())
        writer.records(follower.mappings(now))
    except GuestError:
        pass
    writer.chunk(b"mask", np.array([(now, follower.recorded())], MASK).tobytes())


def pump(follower: Follower, writer: Writer) -> int:
    """Moves what is new from the rings into the file; returns how many records."""
    records = follower.poll()
    writer.records(records)
    return len(records)
