"""The pipes of a guest, and who has which end open, from the files that processes have open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from tools.guest.layout import Record
from tools.guest.memory import PAGE
from tools.guest.processes import Process, Processes

FD_PIPE = "FD_PIPE", "1"  # a file's type, where the enum has names and where it has none


@dataclass
class Pipe:
    """One pipe. A process that has both ends open is in both lists."""

    address: int  # kernel address of its struct pipe
    readers: list[Process] = field(default_factory=list)
    writers: list[Process] = field(default_factory=list)


class Pipes:
    """Every pipe that a process has open, read once."""

    def __init__(self, processes: Processes):
        kernel = processes.kernel
        pipe, file = kernel.elf.struct("pipe"), kernel.elf.struct("file")
        self.size = pipe.size if pipe else PAGE  # bytes
        self.all: dict[int, Pipe] = {}  # by address
        if file is None or not file.size:
            return
        opened = {p.slot: set(p.record.numbers("ofile")) - {0} for p in processes.used}
        places = sorted(set().union(*opened.values()))
        data = kernel.read_many([(a, file.size) for a in places])
        files = {a: Record(file, a, raw) for a, raw in zip(places, data) if raw}
        ends = {a: f for a, f in files.items() if f.number("ref") and f.enum("type") in FD_PIPE}
        for p in processes.used:
            for a in sorted(opened[p.slot] & ends.keys()):
                self._opened(p, ends[a])

    def _opened(self, process: Process, end: Record) -> None:
        pipe = self.all.setdefault(end.number("pipe"), Pipe(end.number("pipe")))
        for flag, who in (("readable", pipe.readers), ("writable", pipe.writers)):
            if end.number(flag) and process not in who[-1:]:
                who.append(process)

    def holding(self, address: int) -> Optional[Pipe]:
        """The pipe a kernel address, such as a sleep channel, lies in; None if it is in none."""
        return next((p for a, p in self.all.items() if a <= address < a + self.size), None)
