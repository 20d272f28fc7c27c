"""Which process maps which frame: user page tables turned round, from frames to mappings."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterable, NamedTuple, Optional

from tools.guest.frames import ram
from tools.guest.memory import PAGE, CachedMemory, Memory
from tools.guest.processes import Process, Processes
from tools.guest.sv39 import LEAF, SIZES, C, S, Table, U, V, address_of, read_table


class Mapping(NamedTuple):
    """One leaf of one process."""

    process: Process
    va: int
    entry: int

    @property
    def shared_in(self) -> bool:
        """Does it carry the shared bit, that is, does another process own the frame?"""
        return bool(self.entry & S)


class Mappings:
    """Every process's user table, read once, and the frames behind their leaves.

    Kernel pages of a user table (trapframe, trampoline) are left out of `frames`: they have no U.
    """

    def __init__(self, processes: Processes):
        self.processes = processes
        memory = processes.kernel.memory
        start, end = ram(memory)
        owners = [p for p in processes.used if p.root is not None]
        read_ahead(memory, [p.root for p in owners if p.root is not None])
        self.tables: dict[int, Table] = {}  # by slot
        self.frames: dict[int, list[Mapping]] = {}  # physical page -> leaves, by slot and address
        for p in owners:
            if p.root is None:
                continue
            table = self.tables[p.slot] = read_table(memory, p.root, "user")
            for va, pa, entry, level in table.leaves():
                if not entry & (U | S):
                    continue
                if not level:
                    self.frames.setdefault(pa, []).append(Mapping(p, va, entry))
                    continue
                # A wild entry may claim a GiB: of what is no memory there are no frames.
                for frame in range(max(pa, start), min(pa + SIZES[level], end), PAGE):
                    mapping = Mapping(p, va + frame - pa, entry)
                    self.frames.setdefault(frame, []).append(mapping)

    def shared(self) -> dict[int, list[Mapping]]:
        """The frames that more than one leaf reaches, or a leaf with the shared bit."""
        return {
            pa: leaves
            for pa, leaves in sorted(self.frames.items())
            if len(leaves) > 1 or leaves[0].shared_in
        }


def owner(leaves: Iterable[Mapping]) -> Optional[Mapping]:
    """The mapping that is not shared in from elsewhere; None if its process has gone."""
    return next((m for m in leaves if not m.shared_in), None)


def kind(leaves: list[Mapping]) -> str:
    """`shared` by the shared bit, `cow` when all wait to be copied, `fork` for the rest: read-only
    pages kept.
    """
    if any(m.shared_in for m in leaves):
        return "shared"
    if any(m.entry & C for m in leaves):
        return "cow"
    return "same" if len({m.process.slot for m in leaves}) == 1 else "fork"


@dataclass
class SharedRun:
    """Frames that follow each other in every process that maps them: one mapping, shown once."""

    pa: int  # of the first frame
    pages: int
    mappings: list[Mapping]  # of the first frame
    kind: str
    frames: list[int]


def runs(shared: dict[int, list[Mapping]]) -> list[SharedRun]:
    """Groups shared frames into runs, in order of the first mapping's process and address."""
    by_leaf = sorted(shared.items(), key=lambda item: (item[1][0].process.slot, item[1][0].va))
    found: list[SharedRun] = []
    for pa, leaves in by_leaf:
        last = found[-1] if found else None
        if last is not None and _follows(last, leaves):
            last.pages += 1
            last.frames.append(pa)
        else:
            found.append(SharedRun(pa, 1, leaves, kind(leaves), [pa]))
    return found


def _follows(run: SharedRun, leaves: list[Mapping]) -> bool:
    ahead = run.pages * PAGE
    alike = 0x3FF & ~0xC0  # all flags but A and D
    return len(leaves) == len(run.mappings) and all(
        m.process is n.process and m.va + ahead == n.va and not (m.entry ^ n.entry) & alike
        for m, n in zip(run.mappings, leaves)
    )


def read_ahead(memory: Memory, roots: list[int]) -> None:
    """Reads the pages of many tables level by level, so that a slow source is asked three times and
    not often.
    """
    if not isinstance(memory, CachedMemory):
        return
    pages = {pa for pa in roots if pa % PAGE == 0 and memory.contains(pa, PAGE)}
    for level in (2, 1, 0):
        part = PAGE // 2 if level == 2 else PAGE  # of a root only the user's half is wanted
        below: set[int] = set()
        for raw in memory.read_pages(sorted(pages), part):
            if level:
                entries = struct.unpack(f"<{part // 8}Q", raw)
                below.update(address_of(e) for e in entries if e & V and not e & LEAF)
        pages = {pa for pa in below if memory.contains(pa, PAGE)}
