"""What a guest looks like at one stop, kept as plain data, and what changed between two stops."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from tools.guest.audit import Audit
from tools.guest.memory import GuestError
from tools.guest.processes import Processes
from tools.guest.queue import read_queue
from tools.guest.sv39 import flag_text

FIELDS = {"name", "state", "sz", "parent", "chan"}  # of a process, that take() keeps
ALIKE = 0x3FF & ~0xC0  # all flags but A and D: those change by use alone


@dataclass
class Snapshot:
    """processes: pid -> fields. pages: (pid, va) -> (pa, flags). free: number of free frames, None
    if unknown.
    """

    processes: dict[int, dict[str, Any]]
    pages: dict[tuple[int, int], tuple[int, int]]
    counts: dict[int, int]
    free: Optional[int]
    queue: list[tuple[int, int, int]]

    def to_json(self) -> str:
        """As text that from_json() reads."""
        value = dict(vars(self), pages=[[*k, *v] for k, v in self.pages.items()])
        return json.dumps(dict(value, counts=list(self.counts.items())))

    @staticmethod
    def from_json(text: str) -> "Snapshot":
        """Raises GuestError if the text is no snapshot."""
        try:
            v = json.loads(text)
            processes = {int(pid): p for pid, p in v["processes"].items()}
            pages = {(pid, va): (pa, flags) for pid, va, pa, flags in v["pages"]}
            queue = [(pid, va, size) for pid, va, size in v["queue"]]
            whole = all(isinstance(p, dict) and FIELDS <= p.keys() for p in processes.values())
            numbers = [
                *(n for page in pages.items() for part in page for n in part),
                v["free"] or 0,
            ]
            if not whole or not all(type(n) is int for n in numbers):
                raise ValueError
            return Snapshot(processes, pages, dict(v["counts"]), v["free"], queue)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise GuestError("not a snapshot") from None


@dataclass
class Change:
    """One difference. what: process, page, frame or queue; before and after are text, empty for
    nothing.
    """

    what: str
    pid: Optional[int]
    where: str
    before: str
    after: str


def take(processes: Processes) -> Snapshot:
    """Reads what a snapshot keeps."""
    audit = Audit(processes)
    pages = {}
    for p in processes.used:
        table = audit.mappings.tables.get(p.slot)
        for leaf in table.leaves() if table else ():
            pages[p.pid, leaf.va] = (leaf.pa, leaf.entry & ALIKE)
    try:
        queue = read_queue(processes)
    except GuestError:
        queue = None
    counts = audit.counts
    frames = {pa for pa, _ in pages.values()}
    return Snapshot(
        {
            p.pid: {
                "name": p.name,
                "state": p.state,
                "sz": p.size,
                "parent": p.parent.pid if p.parent else None,
                "chan": processes.kernel.name_of(p.chan) if p.chan else None,
            }
            for p in processes.used
        },
        pages,
        {pa: counts.count_of(pa) or 0 for pa in frames} if counts else {},
        len(audit.free.frames) if audit.free else None,
        [(r.client_pid, r.va, r.size) for r in queue.requests] if queue else [],
    )


def diff(old: Snapshot, new: Snapshot) -> list[Change]:
    """What differs, processes first, then pages, frames and the queue."""
    return _processes(old, new) + _pages(old, new) + _frames(old, new) + _queue(old, new)


def _processes(old: Snapshot, new: Snapshot) -> list[Change]:
    changes = []
    for pid in sorted(old.processes.keys() | new.processes.keys()):
        a, b = old.processes.get(pid, {}), new.processes.get(pid, {})
        if not a or not b:
            gone = f"{a.get('name')} {a.get('state')}" if a else ""
            made = f"{b.get('name')} {b.get('state')}" if b else ""
            changes.append(Change("process", pid, "", gone, made))
            continue
        for key in sorted(a.keys() & b.keys()):
            if a[key] != b[key]:
                changes.append(Change("process", pid, key, _text(key, a[key]), _text(key, b[key])))
    return changes


def _text(key: str, value: Any) -> str:
    return (
        "-"
        if value is None
        else f"{value:#x}"
        if key == "sz" and isinstance(value, int)
        else str(value)
    )


def _pages(old: Snapshot, new: Snapshot) -> list[Change]:
    changes = []
    for key in sorted(old.pages.keys() | new.pages.keys()):
        a, b = old.pages.get(key), new.pages.get(key)
        if a != b:
            changes.append(Change("page", key[0], hex(key[1]), _page(a), _page(b)))
    return changes


def _page(page: Optional[tuple[int, int]]) -> str:
    return f"{page[0]:#x} {flag_text(page[1])}" if page else ""


def _frames(old: Snapshot, new: Snapshot) -> list[Change]:
    changes = []
    if old.free != new.free:
        changes.append(Change("frame", None, "free", str(old.free), str(new.free)))
    for pa in sorted(old.counts.keys() & new.counts.keys()):
        if old.counts[pa] != new.counts[pa]:
            count = Change("frame", None, hex(pa), str(old.counts[pa]), str(new.counts[pa]))
            changes.append(count)
    return changes


def _queue(old: Snapshot, new: Snapshot) -> list[Change]:
    def text(request: tuple[int, int, int]) -> str:
        return f"va {request[1]:#x} size {request[2]}"

    gone = [r for r in old.queue if r not in new.queue]
    made = [r for r in new.queue if r not in old.queue]
    return [Change("queue", r[0], "", text(r), "") for r in gone] + [
        Change("queue", r[0], "", "", text(r)) for r in made
    ]
