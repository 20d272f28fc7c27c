"""Locks of a guest: which are held, by whom and where taken, who waits, and the cycle of a
deadlock.

Every spinlock and sleeplock that lies in a variable is found through its type; those of pipes
through the open files. A hart that spins is known by cpu.waiting where there is such a field, else
from its registers: its pc is in acquire(), whose lock the debug information places in a register.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Mapping, Optional, Union

from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.layout import Record, Type
from tools.guest.pipes import Pipes
from tools.guest.processes import Hart, Process, Processes

Party = Union[Hart, Process]
Registers = Mapping[int, Mapping[str, int]]  # hart -> register -> value


@dataclass
class Lock:
    """One lock. `expression` is how C would name it; `name` what the kernel calls it."""

    expression: str
    name: str
    kind: str  # spin or sleep
    address: int
    held: bool
    holder: Optional[Party]
    place: Optional[str]  # function and line where it was taken, where the kernel notes that
    record: Record = field(repr=False)
    waiters: list[Party] = field(default_factory=list)


def find_locks(processes: Processes, registers: Optional[Registers] = None) -> list[Lock]:
    """All locks, in order of address, with those who wait for them."""
    kernel = processes.kernel
    places = lock_places(kernel.elf) + _pipe_places(processes)
    spans = [(address, kind.size) for _, address, kind in places]
    locks = [
        _lock(processes, expression, Record(kind, address, data))
        for (expression, address, kind), data in zip(places, kernel.read_many(spans))
        if data
    ]
    by_address = {lock.address: lock for lock in locks}
    for hart in processes.harts:
        waited = _spins_for(kernel, hart, registers or {})
        if waited in by_address:
            by_address[waited].waiters.append(hart)
    for p in processes.used:
        lock = by_address.get(p.chan) if p.state == "SLEEPING" else None
        if lock is not None and lock.kind == "sleep":
            lock.waiters.append(p)
    return sorted(locks, key=lambda lock: lock.address)


@lru_cache(maxsize=4)
def lock_places(elf: Elf) -> list[tuple[str, int, Type]]:
    """Every lock in a variable: expression, address, type. A sleeplock comes before the spinlock in
    it.
    """
    found = []
    for kind in ("sleeplock", "spinlock"):
        for name, address, type in elf.variables():
            for path, offset in type.instances(kind):
                member = elf.struct(kind)
                if member:
                    found.append((name + path, address + offset, member))
    return sorted(found, key=lambda place: (place[1], place[2].name != "sleeplock"))


def _pipe_places(processes: Processes) -> list[tuple[str, int, Type]]:
    spin, pipe = (processes.kernel.elf.struct(name) for name in ("spinlock", "pipe"))
    if spin is None or pipe is None or not pipe.find("lock"):
        return []
    offset = pipe.fields["lock"].offset
    return [(f"pipe {a:#x}.lock", a + offset, spin) for a in sorted(Pipes(processes).all)]


def _lock(processes: Processes, expression: str, r: Record) -> Lock:
    kernel = processes.kernel
    kind = "sleep" if r.type.name == "sleeplock" else "spin"
    held = bool(r.number("locked"))
    holder: Optional[Party] = None
    if held and kind == "sleep":
        holder = next((p for p in processes.used if p.pid == r.number("pid")), None)
    elif held:
        holder = next((h for h in processes.harts if h.address == r.number("cpu")), None)
    pc = r.get("pc")
    place = kernel.place(pc - 1) if held and pc else None
    name = kernel.text(r.number("name")) if r.number("name") else ""
    return Lock(expression, name, kind, r.address, held, holder, place, r)


def _spins_for(kernel: Kernel, hart: Hart, registers: Registers) -> Optional[int]:
    """The address of the lock a hart waits for; None if it does not, or that cannot be known."""
    waiting = hart.record.get("waiting")
    if waiting is not None:
        return waiting or None
    values = registers.get(hart.number)
    if not values:
        return None
    for low, high, register in kernel.elf.lock_register:
        if low <= values["pc"] < high:
            return values.get(register)
    return None


def cycles(locks: list[Lock]) -> list[list[tuple[Party, Lock]]]:
    """Deadlocks: each a list of (who, the lock it waits for), the next one being that lock's
    holder.
    """

    def key(party: Party) -> str:
        if isinstance(party, Process) and party.hart is None:
            return f"pid {party.pid}"
        return f"hart {party.number if isinstance(party, Hart) else party.hart}"

    waits = {key(w): (w, lock) for lock in locks for w in lock.waiters}
    found, seen = [], set()
    for start in waits:
        path: list[str] = []
        at: Optional[str] = start
        while at in waits and at not in path and at not in seen:
            path.append(at)
            holder = waits[at][1].holder
            at = key(holder) if holder is not None else None
        if at in path:
            found.append([waits[k] for k in path[path.index(at) :]])
        seen.update(path)
    return found
