"""The one normaliser: from records in any order to a `Trace`, in order of time, with its losses known, processes
named as they were called at each moment, and page tables given back to their processes. Every view starts here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tools.trace import tracefile
from tools.trace.table import BOOT, RECORD, Table
from tools.trace.tracefile import FREQUENCY, Contents, Symbols

UNKNOWN = "?"
IDLE = "-"  # pid 0: the scheduler
STRETCH = 16384  # records sorted at a time, if they allow it


@dataclass(frozen=True)
class Loss:
    """Records of one hart's ring that were overwritten before they were read: some time in (after, before]."""

    hart: int
    count: int
    after: int  # ticks; of the last record before the gap
    before: int  # ticks; of the first after it


@dataclass
class Trace:
    """A run, normalised. Times are ticks of `frequency`; `records` is sorted by time, each hart's order kept."""

    table: Table
    records: np.ndarray
    processes: np.ndarray  # snapshots, tracefile.PROCESS
    masks: np.ndarray  # tracefile.MASK: what was recorded before the first change in the records
    symbols: Symbols
    about: dict[str, Any]
    problems: list[str]
    losses: list[Loss] = field(default_factory=list)
    missing_before: dict[int, int] = field(
        default_factory=dict
    )  # hart: records older than its first

    @property
    def frequency(self) -> int:
        """Ticks in a second."""
        return int(self.about.get("frequency", FREQUENCY))

    @property
    def lost(self) -> int:
        """How many records are missing in the middle."""
        return sum(loss.count for loss in self.losses)

    @property
    def emitted(self) -> np.ndarray:
        """Which records came from a ring; the others state what held when the recording began."""
        return self.records["sequence"] > 0

    def of(self, *names: str) -> np.ndarray:
        """Indices of the records of the named events, oldest first."""
        ids = [self.table.id(n) for n in names]
        if len(ids) == 1:
            return np.flatnonzero(self.records["event"] == ids[0])
        return np.flatnonzero(np.isin(self.records["event"], ids))

    def arg(self, name: str, argument: str, indices: np.ndarray) -> np.ndarray:
        """One argument of records that are all of event `name`; of none if the table does not know it."""
        if not len(indices):
            return np.zeros(0, np.uint64)
        return self.records["args"][indices, self.table.events[self.table.id(name)].slot(argument)]

    def seconds(self, time: int | np.integer[Any]) -> float:
        """Seconds since the guest's clock started."""
        return int(time) / self.frequency

    @cached_property
    def recorded(self) -> int:
        """Mask of the events recorded from the first record to the last; what changed meanwhile is left out."""
        changes = self.of("mask")
        known = [int(m) for m in self.masks["mask"]]
        if len(changes):
            known += self.arg("mask", "new", changes).tolist()
            first = int(self.arg("mask", "old", changes[:1])[0])
            if not known[: len(self.masks)] and first:
                known.append(first)
        if not known:
            return self.table.mask(BOOT)
        mask = known[0]
        for other in known[1:]:
            mask &= other
        return mask

    def is_recorded(self, *names: str) -> bool:
        """Whether all of these events were on throughout."""
        return all(self.table.id(n) >= 0 and self.recorded >> self.table.id(n) & 1 for n in names)

    @cached_property
    def names(self) -> list[str]:
        """The distinct names of programs; `programs` points into it. The first two are for pid 0 and unknown."""
        self.programs  # noqa: B018  (computes both)
        return self._names

    @cached_property
    def programs(self) -> np.ndarray:
        """For each record the index in `names` of the program its process ran."""
        self._names: list[str] = [IDLE, UNKNOWN]
        self._index = {IDLE: 0, UNKNOWN: 1}
        self.name_history = self._name_history()
        return self._programs_of(self.records["pid"], np.arange(len(self.records)))

    def programs_of(self, pids: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """What processes were called at given records, as indices in `names`."""
        self.programs  # noqa: B018  (makes the history)
        return self._programs_of(pids, indices)

    def _programs_of(self, pids: np.ndarray, indices: np.ndarray) -> np.ndarray:
        out = np.ones(len(pids), np.uint16)
        order = np.argsort(pids, kind="stable")
        ordered = pids[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(pids)])
        ends = np.r_[starts[1:], len(pids)]
        for start, end in zip(starts, ends):
            mine = order[start:end]
            pid = int(ordered[start])
            changes = self.name_history.get(pid, [(-1, 1)]) if pid else [(-1, 0)]
            if len(changes) == 1:
                out[mine] = changes[0][1]
                continue
            at = np.searchsorted([c[0] for c in changes], indices[mine], "right") - 1
            out[mine] = np.array([c[1] for c in changes], np.uint16)[np.maximum(at, 0)]
        return out

    def _intern(self, name: str) -> int:
        if name not in self._index:
            self._index[name] = len(self._names)
            self._names.append(name)
        return self._index[name]

    def _name_history(self) -> dict[int, list[tuple[int, int]]]:
        """For each pid when it got which name: (index of the record, index of the name), oldest first."""
        history: dict[int, list[tuple[int, int]]] = {}
        changes = self.of("fork", "exec")
        fork = self.table.id("fork")
        forked = set()
        first_seen = self.processes[np.argsort(self.processes["time"], kind="stable")]
        for i in changes[self.records["event"][changes] == fork]:
            forked.add(int(self.records["args"][i, 0]))
        for row in first_seen:
            pid = int(row["pid"])
            if pid not in history and pid not in forked:
                history[pid] = [(-1, self._intern(row["name"].decode("ascii", "replace")))]
        for i in changes:
            r = self.records[i]
            pid = int(r["pid"])
            if r["event"] == fork:
                child = int(r["args"][0])
                parent = history.get(pid, [(-1, 1)])[-1][1]
                history.setdefault(child, []).append((int(i), parent))
            else:
                name = r["args"][1:3].tobytes().split(b"\0")[0].decode("ascii", "replace")
                history.setdefault(pid, []).append((int(i), self._intern(name)))
        return history

    def name_at(self, pid: int, index: int) -> str:
        """What the process was called when record `index` was emitted."""
        return self.names[int(self.programs_of(np.array([pid]), np.array([index]))[0])]

    @cached_property
    def pids(self) -> list[int]:
        """Every process that appears, oldest pid first."""
        seen = set(np.unique(self.records["pid"]).tolist()) | set(self.processes["pid"].tolist())
        forks = self.of("fork")
        if len(forks):
            seen |= set(self.arg("fork", "child", forks).tolist())
        return sorted(seen - {0})

    @cached_property
    def roots(self) -> dict[int, list[tuple[int, int]]]:
        """Page tables over time: physical address of the root -> (time from which, pid), oldest first."""
        owners: dict[int, list[tuple[int, int]]] = {}
        for row in self.processes:
            if row["root"]:
                owners.setdefault(int(row["root"]), []).append((int(row["time"]), int(row["pid"])))
        for i in self.of("fork", "exec"):
            r = self.records[i]
            forked = r["event"] == self.table.id("fork")
            root = int(r["args"][1 if forked else 0])
            pid = int(r["args"][0]) if forked else int(r["pid"])
            owners.setdefault(root, []).append((int(r["time"]), pid))
        for rows in owners.values():
            rows.sort()
        return owners


def _gaps(records: np.ndarray) -> tuple[list[Loss], dict[int, int], np.ndarray]:
    """What is missing on each hart: in the middle, and before its first record; and indices of records read twice."""
    words = records.view("<u8").reshape(-1, RECORD.itemsize // 8)
    time, sequence = words[:, 0], np.ascontiguousarray(words[:, 1])
    harts = np.ascontiguousarray(records["hart"])
    losses: list[Loss] = []
    before: dict[int, int] = {}
    copies = [np.zeros(0, np.intp)]
    for hart in np.flatnonzero(np.bincount(harts)).tolist():
        mine = np.flatnonzero((harts == hart) & (sequence > 0))
        numbers = sequence[mine]
        if np.any(numbers[1:] <= numbers[:-1]):
            numbers, first = np.unique(numbers, return_index=True)
            copies.append(np.delete(mine, first))
            mine = mine[first]
        if len(mine):
            before[hart] = int(numbers[0]) - 1
            for i in np.flatnonzero(numbers[1:] - numbers[:-1] > 1).tolist():
                lost = int(numbers[i + 1] - numbers[i]) - 1
                losses.append(Loss(hart, lost, int(time[mine[i]]), int(time[mine[i + 1]])))
    losses.sort(key=lambda loss: loss.before)
    return losses, {hart: n for hart, n in before.items() if n}, np.concatenate(copies)


def _sort(records: np.ndarray) -> None:
    """Puts records in order of time, in their place and keeping the order of equal ones. They come from several
    rings read in turn, so what must move moves a little: stretch by stretch, little memory is touched.
    """
    time = np.ascontiguousarray(records["time"])
    if not np.any(time[1:] < time[:-1]):
        return
    order = np.argsort(time, kind="stable")
    del time
    whole = records.view(f"V{RECORD.itemsize}")  # by fields takes many times longer
    ends = np.flatnonzero(np.maximum.accumulate(order) == np.arange(len(order))) + 1
    start = 0
    while start < len(order):  # nothing before an end belongs behind it
        end = int(ends[min(int(np.searchsorted(ends, start + STRETCH)), len(ends) - 1)])
        whole[start:end] = whole.take(order[start:end])
        start = end


def normalise(contents: Contents) -> Trace:
    """Orders the records, those of `contents` themselves, drops those read twice, and finds out what is missing.

    Columns are copied out before they are worked on: a record is a cache line, so each look at a column of the
    records themselves walks through all of their memory.
    """
    records = contents.records
    losses, before, copies = _gaps(records)
    if len(copies):
        records = np.delete(records, copies)
    _sort(records)
    return Trace(
        contents.table,
        records,
        contents.processes,
        contents.masks,
        contents.symbols,
        contents.about,
        list(contents.problems),
        losses,
        before,
    )


def load(path: str | Path) -> Trace:
    """Reads and normalises a trace file; raises tracefile.TraceError if nothing can be read."""
    return normalise(tracefile.read(path))
