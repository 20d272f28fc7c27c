"""The kernel's table of events as bytes (kernel/trace_events.h): in its ELF file, in shmtrace and in every trace
file. Nothing here lists an event: one that this file was not written for is shown all the same.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple, Optional

from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.layout import printable
from tools.guest.memory import GuestError

EVENT_ROW = struct.Struct("<HHH18s8s96s")
ROW_TEXT = re.compile(r"[a-z_0-9]+ [a-z_0-9]+ ?( ?[a-z_0-9]+:[a-z_0-9]+)*")
VALUE_ROW = struct.Struct("<12sI32s")
ARGS = 5
USER = 1  # TRACE_USER: programs may emit it
BOOT = 2  # TRACE_BOOT: on from power-on


class Event(NamedTuple):
    """One record: time in ticks of the ring's frequency, sequence from 1, five argument slots."""

    time: int
    sequence: int
    event: int
    hart: int
    pid: int
    args: tuple[int, ...]


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


class EventTable:
    """Events by id, names of values by set; made from the raw bytes that also go into trace files."""

    def __init__(self, events: bytes, values: bytes):
        """Raises ValueError if the bytes are no table. None at all are an empty one."""
        if len(events) % EVENT_ROW.size or len(values) % VALUE_ROW.size:
            raise ValueError("not a table of events")
        self.raw = events, values
        self.events: dict[int, EventInfo] = {}
        self.values: dict[str, dict[int, str]] = {}
        for id_, flags, slots, *texts in EVENT_ROW.iter_unpack(events):
            name, category, arguments = (
                t.split(b"\0")[0].decode("ascii", "replace") for t in texts
            )
            pairs = tuple((a.partition(":")[0], a.partition(":")[2]) for a in arguments.split())
            self.events[id_] = EventInfo(id_, name, category, flags, min(slots, ARGS), pairs[:ARGS])
            if not ROW_TEXT.fullmatch(f"{name} {category} {arguments}"):
                raise ValueError("not a table of events")
        for set_, value, name in VALUE_ROW.iter_unpack(values):
            names = self.values.setdefault(set_.split(b"\0")[0].decode("ascii", "replace"), {})
            names[value] = name.split(b"\0")[0].decode("ascii", "replace")
        self.ids = {info.name: info.id for info in self.events.values()}

    @staticmethod
    def of(elf: Elf) -> "EventTable":
        """The table in a kernel's ELF file; empty if it has none. Raises GuestError if it is of another version."""
        parts = []
        for name in ("trace_event_table", "trace_value_table"):
            found = elf.variable(name)
            parts.append(elf.bytes_at(found[0], found[1].size) if found else b"")
        try:
            return EventTable(parts[0], parts[1])
        except ValueError as error:
            raise GuestError(f"{elf.path}: {error}") from None

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

    def arguments(self, event: Event, kernel: Optional[Kernel] = None) -> dict[str, str]:
        """The arguments of a record by name, as text by kind; kernel addresses by symbol if `kernel` is given."""
        info = self.events.get(event.event)
        if info is None:
            return {f"a{i}": f"{a:#x}" for i, a in enumerate(event.args)}
        shown: dict[str, str] = {}
        for i, (name, kind) in enumerate(info.arguments):
            value = event.args[i] if i < len(event.args) else 0
            if kind == "text":
                raw = struct.pack(f"<{len(event.args) - i}Q", *event.args[i:])
                shown[name] = printable(raw.split(b"\0")[0])
            elif value in self.values.get(kind, {}):
                shown[name] = self.values[kind][value]
            elif kind in ("n", "bytes", "ticks"):
                shown[name] = str(value)
            elif kind in ("int", "pid"):
                shown[name] = str(value - (1 << 64) if value >> 63 else value)
            else:
                symbol = kernel.name_of(value) if kernel and kind == "symbol" else None
                shown[name] = symbol or f"{value:#x}"
        return shown
