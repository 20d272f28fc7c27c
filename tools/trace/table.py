"""The table of events as the kernel, shmtrace and trace files store it (kernel/trace_events.h), and what it
says about a record: names, kinds, values. Nothing here lists an event: an event this file was not written for
is shown all the same.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np

from tools.guest.elf import Elf
from tools.guest.memory import GuestError

EVENT_ROW = struct.Struct("<HHH18s8s96s")
ROW_TEXT = re.compile(r"[a-z_0-9]+ [a-z_0-9]+ ?( ?[a-z_0-9]+:[a-z_0-9]+)*")
VALUE_ROW = struct.Struct("<12sI32s")
RECORD = np.dtype(
    [
        ("time", "<u8"),
        ("sequence", "<u8"),
        ("event", "<u2"),
        ("hart", "<u2"),
        ("pid", "<i4"),
        ("args", "<u8", (5,)),
    ]
)
ARGS = 5
USER = 1  # TRACE_USER: programs may emit it
BOOT = 2  # TRACE_BOOT: on from power-on


@dataclass(frozen=True)
class EventInfo:
    """A row of the table. `arguments` are (name, kind) in slot order; `slots` is how many a record fills."""

    id: int
    name: str
    category: str
    flags: int
    slots: int
    arguments: tuple[tuple[str, str], ...]

    def slot(self, argument: str) -> int:
        """Which slot of the record holds an argument; KeyError if the event has none of that name."""
        for i, (name, _) in enumerate(self.arguments):
            if name == argument:
                return i
        raise KeyError(f"{self.name} has no argument {argument}")


class Table:
    """Events by id, names of values by set; made from the raw bytes that also go into trace files."""

    def __init__(self, events: bytes, values: bytes):
        """Raises ValueError if the bytes are no table."""
        if not events or len(events) % EVENT_ROW.size or len(values) % VALUE_ROW.size:
            raise ValueError("not a table of events")
        self.raw = events, values
        self.events: dict[int, EventInfo] = {}
        self.values: dict[str, dict[int, str]] = {}
        for id_, flags, slots, *texts in EVENT_ROW.iter_unpack(events):
            name, category, arguments = (
                t.split(b"\0")[0].decode("ascii", "replace") for t in texts
            )
            pairs = tuple((a.partition(":")[0], a.partition(":")[2]) for a in arguments.split())
            self.events[id_] = EventInfo(id_, name, category, flags, min(slots, ARGS), pairs)
            if not ROW_TEXT.fullmatch(f"{name} {category} {arguments}"):
                raise ValueError("not a table of events")
        for set_, value, name in VALUE_ROW.iter_unpack(values):
            names = self.values.setdefault(set_.split(b"\0")[0].decode("ascii", "replace"), {})
            names[value] = name.split(b"\0")[0].decode("ascii", "replace")
        self.ids = {info.name: info.id for info in self.events.values()}

    @staticmethod
    def of(elf: Elf) -> "Table":
        """The table in a kernel's ELF file; raises GuestError if it has none."""
        parts = []
        for name in ("trace_event_table", "trace_value_table"):
            found = elf.variable(name)
            if found is None:
                raise GuestError(f"{elf.path}: this kernel has no trace events")
            parts.append(elf.bytes_at(found[0], found[1].size))
        return Table(parts[0], parts[1])

    def id(self, name: str) -> int:
        """An event's id; -1, which no record has, if this kernel has no such event."""
        return self.ids.get(name, -1)

    def mask(self, flag: int) -> int:
        """Bits of the events that have a flag."""
        return sum(1 << i for i, info in self.events.items() if info.flags & flag)

    def select(self, text: str) -> set[int]:
        """Ids of a comma-separated list of events and categories, or all; raises ValueError naming a bad one."""
        chosen: set[int] = set()
        for word in filter(None, text.split(",")):
            found = {i for i, e in self.events.items() if word in ("all", e.name, e.category)}
            if not found:
                known = ", ".join(sorted(self.ids))
                raise ValueError(f"{word}: no such event or category (events: {known})")
            chosen |= found
        return chosen
