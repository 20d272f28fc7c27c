"""A kernel in a guest's memory: its symbols joined to what lies there now.

Everything is found by the names xv6 gives things, probed one by one: a name that is not there gives
None or an empty list, and whoever asked says so. Pointers are turned into physical addresses here
and nowhere else.
"""

from __future__ import annotations

import re
from typing import ContextManager, Iterable, Optional, Sequence

from tools.guest.elf import Elf
from tools.guest.layout import Record, Type, printable, split
from tools.guest.memory import (
    PAGE,
    RAM_BASE,
    CachedMemory,
    CoreMemory,
    FileMemory,
    GuestError,
    Memory,
    Unreadable,
)
from tools.guest.sv39 import walk

NEAR = 2048  # bytes: reading on to a neighbour closer than this costs no further packet


class Kernel:
    """elf: the kernel's executable. memory: the guest's physical memory.

    `direct` is where the kernel sees physical address 0, probed from the program headers: 0 when it
    is linked where it is loaded, as xv6 is.
    """

    def __init__(self, elf: Elf, memory: Memory):
        self.elf, self.memory = elf, memory
        if not elf.segments:
            raise GuestError(f"{elf.path}: no segment to load")
        self.direct = max(s.vaddr - s.paddr for s in elf.segments)
        self._strings: dict[int, str] = {}

    def session(self) -> ContextManager[None]:
        """To be entered around the reads of one command; sessions may nest only in sources that
        allow it.
        """
        return self.memory.session()

    # Addresses

    def to_pa(self, va: int) -> Optional[int]:
        """Where a kernel pointer points physically; None if it points nowhere."""
        for s in self.elf.segments:
            if s.vaddr <= va < s.vaddr + s.memsz:
                return va - s.vaddr + s.paddr
        if self.memory.contains(va):
            return va
        if self.direct and self.memory.contains(va - self.direct):
            return va - self.direct
        root = self.root
        return walk(self.memory, root, va).pa if root else None

    @property
    def root(self) -> Optional[int]:
        """Physical address of the kernel's root table page; None before paging is set up."""
        value = self.number("kernel_pagetable")
        if not value:
            return None
        for candidate in (value, value - self.direct):
            if self.memory.contains(candidate, PAGE):
                return candidate
        return None

    def in_image(self, pa: int) -> bool:
        """Is the physical address part of what was loaded from the kernel's file?"""
        return any(s.paddr <= pa < s.paddr + s.memsz for s in self.elf.segments)

    def root_of(self, pointer: int) -> Optional[int]:
        """Physical address of a table whose kernel pointer is given, wherever it points; None for a
        null one.
        """
        if not pointer:
            return None
        pa = self.to_pa(pointer)
        return pointer if pa is None else pa

    def read(self, va: int, size: int) -> bytes:
        """Bytes at a kernel address, page by page where pages may lie apart; raises Unreadable."""
        pa = self.to_pa(va)
        if pa is not None and (va == pa or va - pa == self.direct or self.elf.nearest(va)):
            return self.memory.read(pa, size)
        data = b""
        while len(data) < size:
            part = min(size - len(data), PAGE - (va & PAGE - 1))
            pa = self.to_pa(va)
            if pa is None:
                raise Unreadable(f"kernel address {va:#x} is not mapped")
            data += self.memory.read(pa, part)
            va += part
        return data

    # Variables

    def number(self, name: str) -> Optional[int]:
        """An integer or pointer variable of any width; None if there is none."""
        found = self.elf.variable(name)
        if found is None or found[1].size not in (1, 2, 4, 8):
            return None
        data = self.read(found[0], found[1].size)
        return int.from_bytes(data, "little", signed=found[1].signed)

    def record(self, name: str) -> Optional[Record]:
        """A struct variable."""
        found = self.elf.variable(name)
        if found is None or found[1].kind != "struct":
            return None
        return Record(found[1], found[0], self.read(found[0], found[1].size))

    def records(self, name: str) -> list[Record]:
        """A variable that is an array of structs; empty if there is none."""
        found = self.elf.variable(name)
        if found is None or found[1].kind != "array":
            return []
        return split(found[1], found[0], self.read(found[0], found[1].size))

    def at(self, type: Type, va: int) -> Record:
        """A struct somewhere in memory."""
        return Record(type, va, self.read(va, type.size))

    def read_many(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (kernel address, size), neighbours in one read; empty where the guest
        cannot be read.
        """
        order = sorted(range(len(places)), key=lambda i: places[i])
        data = [b""] * len(places)
        while order:
            start, end, n = places[order[0]][0], 0, 0
            while n < len(order) and (not n or places[order[n]][0] - end <= NEAR):
                end = max(end, sum(places[order[n]]))
                n += 1
            try:
                raw = self.read(start, end - start)
            except GuestError:
                raw = b""
            for i in order[:n]:
                at, size = places[i]
                data[i] = raw[at - start : at - start + size]
            del order[:n]
        return data

    def prefetch(self, names: Iterable[str]) -> None:
        """Reads variables that lie near each other in one go, for sources where each read is a
        round trip.
        """
        if not isinstance(self.memory, CachedMemory):
            return
        spans = sorted(
            (v[0], v[0] + v[1].size) for v in map(self.elf.variable, names) if v and v[1].size
        )
        merged: list[list[int]] = []
        for start, end in spans:
            if merged and start - merged[-1][1] < NEAR:
                merged[-1][1] = max(end, merged[-1][1])
            else:
                merged.append([start, end])
        for start, end in merged:
            self.read(start, end - start)

    # Text

    def text(self, va: int, limit: int = 64) -> str:
        """The C string at a kernel address, from the executable where it is constant."""
        known = self._strings.get(va)
        if known is not None:
            return known
        try:
            constant = any(s.vaddr <= va < s.vaddr + s.filesz for s in self.elf.segments)
            raw = self.elf.bytes_at(va, 1) if constant else b""
            if constant:
                room = max(
                    s.vaddr + s.memsz - va
                    for s in self.elf.segments
                    if s.vaddr <= va < s.vaddr + s.memsz
                )
                raw = self.elf.bytes_at(va, min(limit, room))
            else:
                raw = self.read(va, min(limit, PAGE - (va & PAGE - 1)))
        except GuestError:
            return f"?{va:#x}"
        value = printable(raw.split(b"\0")[0])
        if constant:
            self._strings[va] = value
        return value

    def name_of(self, va: int) -> Optional[str]:
        """A kernel address by symbol: data through its type (`bcache.buf[3].lock`), code as
        `sleep+0x1c`.
        """
        found = self.elf.nearest(va)
        if found is None:
            return None
        symbol, offset = found
        variable = self.elf.variable(symbol.name)
        if variable and variable[0] == symbol.address and offset < max(1, variable[1].size):
            return symbol.name + variable[1].describe(offset)
        if not symbol.function and symbol.size and offset >= symbol.size:
            return None
        return symbol.name + (f"+{offset:#x}" if offset else "")

    def place(self, pc: int) -> Optional[str]:
        """`function (file:line)` of an instruction; None outside the kernel's text."""
        name, line = self.name_of(pc), self.elf.line(pc)
        if name is None:
            return None
        return re.sub(r"\+0x[0-9a-f]+$", "", name) + (f" ({line[0]}:{line[1]})" if line else "")


def open_guest(
    kernel: str,
    ram: Optional[str] = None,
    core: Optional[str] = None,
    connect: Optional[str] = None,
    base: int = RAM_BASE,
) -> Kernel:
    """Opens a guest from files or a debug port; exactly one of `ram`, `core`, `connect` is given.

    kernel: path of the kernel's ELF file with debug information. ram: QEMU's RAM file or a raw
    dump, whose byte 0 is physical address `base`. core: ELF core of dump-guest-memory. connect:
    [HOST:]PORT of QEMU's gdb stub.
    """
    if sum(x is not None for x in (ram, core, connect)) != 1:
        raise GuestError("give exactly one of a RAM file, a core file and a debug port")
    elf = Elf(kernel)
    memory: Memory
    if ram is not None:
        memory = FileMemory(ram, base)
    elif core is not None:
        memory = CoreMemory(core)
    else:
        from tools.guest.remote import RemoteMemory

        memory = CachedMemory(RemoteMemory(connect or ""))
    return Kernel(elf, memory)
