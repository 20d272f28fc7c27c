"""Pretty-printers: page-table entries, processes, locks, trapframes, crypto headers and trace
records.

They read only the value gdb already has, so they cost no packet of their own but for a lock's name.
"""

from __future__ import annotations

from typing import Iterator, Optional

import gdb
import gdb.printing

from tools.guest.queue import CryptoHeader
from tools.guest.sv39 import LEAF, V, address_of, flag_text


def _number(value: gdb.Value, field: str) -> Optional[int]:
    """A member as a number; None where this kernel's struct has none."""
    try:
        return int(value[field])
    except gdb.error:
        return None


def entry_text(entry: int) -> str:
    """A page-table entry in words."""
    if not entry & V:
        return "empty" if not entry else f"not valid ({entry:#x})"
    kind = "leaf" if entry & LEAF else "table"
    return f"{kind} {address_of(entry):#x} {flag_text(entry & 0x3FF)}".rstrip()


class EntryPrinter:
    """pte_t."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        entry = int(self.value)
        return f"{entry:#x} = {entry_text(entry)}"


class ProcPrinter:
    """struct proc: a line, then what it is made of that matters."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        v = self.value
        name = v["name"].string(errors="replace").split("\0")[0]
        size = _number(v, "sz")
        sized = f", sz {size:#x}" if size is not None else ""
        return f"pid {int(v['pid'])} ({name}) {v['state']}{sized}"

    def children(self) -> Iterator[tuple[str, gdb.Value]]:
        for field in ("parent", "chan", "killed", "xstate", "pagetable", "trapframe", "kstack"):
            try:
                yield field, self.value[field]
            except gdb.error:
                continue


class LockPrinter:
    """struct spinlock and struct sleeplock."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        v = self.value
        try:
            raw = v["name"].string(errors="replace", length=32)
            name = '"' + raw.split("\0")[0] + '"'
        except gdb.error:
            name = "unnamed"
        if not int(v["locked"]):
            return f"{name} free"
        holder = _number(v, "pid")
        by = f"pid {holder}" if holder is not None else _hart(v)
        pc = _number(v, "pc")
        return f"{name} held by {by}" + (f", taken at {_place(pc)}" if pc else "")


def _hart(lock: gdb.Value) -> str:
    cpus = gdb.lookup_global_symbol("cpus")
    if not cpus or not int(lock["cpu"]):
        return "nobody known"
    array = cpus.value()
    return f"hart {(int(lock['cpu']) - int(array.address)) // array[0].type.sizeof}"


def _place(pc: int) -> str:
    found = gdb.find_pc_line(pc - 1)
    function = gdb.block_for_pc(pc - 1)
    while function and not function.function:
        function = function.superblock
    name = function.function.name if function else f"{pc:#x}"
    return f"{name} ({found.symtab.filename}:{found.line})" if found.symtab else str(name)


class TrapframePrinter:
    """struct trapframe: where the program was, and what it asked for."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        v = self.value
        epc, call = int(v["epc"]), int(v["a7"])
        return f"epc {epc:#x} sp {int(v['sp']):#x} a0 {int(v['a0']):#x} a7 {call}{_call(call)}"

    def children(self) -> Iterator[tuple[str, gdb.Value]]:
        for field in self.value.type.fields():
            yield field.name, self.value[field.name]


def _call(number: int) -> str:
    """The name of a system call, where debug information has the kernel's enum of them."""
    try:
        fields = gdb.lookup_type("enum syscall_number").fields()
    except gdb.error:
        return ""
    name = next((f.name for f in fields if f.enumval == number), None)
    return f" ({name.removeprefix('SYS_')})" if name else ""


class CryptoPrinter:
    """struct crypto_op."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        v = self.value
        fields = (int(v[f]) for f in ("type", "state", "key_size", "data_size"))
        return str(CryptoHeader(*fields))


class RecordPrinter:
    """struct trace_record, decoded with the table in the kernel's file."""

    def __init__(self, value: gdb.Value):
        self.value = value

    def to_string(self) -> str:
        from tools.gdb.skin import session
        from tools.guest.events import Event, EventTable

        v = self.value
        kernel = session().kernel
        table = EventTable.of(kernel.elf)
        args = tuple(int(v["args"][i]) for i in range(5))
        time, sequence, number, hart, pid = (
            int(v[f]) for f in ("time", "sequence", "event", "hart", "pid")
        )
        event = Event(time, sequence, number, hart, pid, args)
        if not event.sequence:
            return "being written"
        info = table.events.get(event.event)
        shown = " ".join(f"{k}={a}" for k, a in table.arguments(event, kernel).items())
        name = info.name if info else f"event {event.event}"
        return f"#{event.sequence} hart {event.hart} pid {event.pid} {name} {shown}".rstrip()


def install() -> None:
    """Makes gdb use them; loading again replaces them."""
    printers = gdb.printing.RegexpCollectionPrettyPrinter("xv6")
    for name, kind in (
        ("proc", ProcPrinter),
        ("spinlock", LockPrinter),
        ("sleeplock", LockPrinter),
        ("trapframe", TrapframePrinter),
        ("crypto_op", CryptoPrinter),
        ("trace_record", RecordPrinter),
    ):
        printers.add_printer(name, f"^{name}$", kind)
    gdb.printing.register_pretty_printer(None, printers, replace=True)
    gdb.pretty_printers.insert(0, _entry_printer)


def _entry_printer(value: gdb.Value) -> Optional[EntryPrinter]:
    """pte_t is a typedef: the name must be looked at before gdb strips it."""
    return EntryPrinter(value) if value.type.name == "pte_t" else None
