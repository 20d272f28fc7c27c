"""Processes and harts of a guest, from `proc[]` and `cpus[]`, whatever fields their structs
have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from tools.guest.kernel import Kernel
from tools.guest.layout import Record
from tools.guest.memory import GuestError


@dataclass
class Process:
    """One slot of proc[]. Members are None where this kernel has no such field."""

    slot: int
    address: int  # kernel address of its struct proc
    pid: int
    state: str  # name of the enum procstate, or a number it has no name for
    name: str
    size: Optional[int]  # sz, bytes
    root: Optional[int]  # physical address of its root table page; None if it has none
    chan: int  # kernel address it sleeps on, 0 if none
    trapframe: Optional[int]  # kernel address
    kstack: Optional[int]  # lowest kernel address of its stack
    killed: Optional[int]
    xstate: Optional[int]
    record: Record = field(repr=False)
    parent: Optional["Process"] = field(default=None, repr=False)
    hart: Optional[int] = None  # where it runs now, by cpus[]

    @property
    def used(self) -> bool:
        return self.state != "UNUSED"

    @property
    def label(self) -> str:
        """How messages call it: `pid 3 (sh)`."""
        return f"pid {self.pid} ({self.name})" if self.name else f"pid {self.pid}"


@dataclass
class Hart:
    """One element of cpus[]."""

    number: int
    address: int
    process: Optional[Process]
    interrupts_off: Optional[int]  # depth of push_off()
    record: Record = field(repr=False)


class Processes:
    """All slots and harts, read once."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        kernel.prefetch(("proc", "cpus"))
        records = kernel.records("proc")
        if not records:
            raise GuestError(
                f"{kernel.elf.path}: no array of struct proc named proc in its debug information"
            )
        self.slots = [_process(kernel, i, r) for i, r in enumerate(records)]
        self.by_address = {p.address: p for p in self.slots}
        for p in self.slots:
            p.parent = self.by_address.get(p.record.number("parent")) if p.used else None
        self.harts = [self._hart(i, r) for i, r in enumerate(kernel.records("cpus"))]
        for h in self.harts:
            if h.process:
                h.process.hart = h.number

    def _hart(self, number: int, r: Record) -> Hart:
        return Hart(number, r.address, self.by_address.get(r.number("proc")), r.get("noff"), r)

    @property
    def used(self) -> list[Process]:
        """The slots in use, by pid."""
        return sorted((p for p in self.slots if p.used), key=lambda p: p.pid)

    def find(self, pid: int) -> Process:
        """The process with a pid; raises GuestError naming it."""
        for p in self.slots:
            if p.used and p.pid == pid:
                return p
        raise GuestError(f"no process with pid {pid}")

    def named(self, text: str) -> Process:
        """A process by pid or by name; raises GuestError if there is none, or more than one of that
        name.
        """
        if text.isdecimal():
            return self.find(int(text))
        found = [p for p in self.used if p.name == text]
        if len(found) == 1:
            return found[0]
        if found:
            pids = ", ".join(str(p.pid) for p in found)
            raise GuestError(f"{text}: several processes have that name: pid {pids}")
        names = ", ".join(f"{p.pid} {p.name}" for p in self.used) or "none"
        raise GuestError(f"{text}: no such process (there are: {names})")


def _process(kernel: Kernel, slot: int, r: Record) -> Process:
    return Process(
        slot=slot,
        address=r.address,
        pid=r.number("pid"),
        state=r.enum("state") or "-",
        name=r.text("name") or "",
        size=r.get("sz"),
        root=kernel.root_of(r.number("pagetable")) if r.number("state") else None,
        chan=r.number("chan"),
        trapframe=r.get("trapframe"),
        kstack=r.get("kstack"),
        killed=r.get("killed"),
        xstate=r.get("xstate"),
        record=r,
    )


def in_slot(kernel: Kernel, slot: int) -> Optional[Process]:
    """One slot of proc[] by itself, its parent and hart left out: for who would rather not read
    them all. None if there is no such slot, or it is not in use.
    """
    found = kernel.elf.variable("proc")
    if found is None or found[1].target is None or not 0 <= slot < found[1].count:
        return None
    element = found[1].target
    made = _process(kernel, slot, kernel.at(element, found[0] + slot * element.size))
    return made if made.used else None
