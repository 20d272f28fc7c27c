"""Reads an xv6 guest from outside: symbols, physical memory, page tables, processes, frames, locks,
queue, trace.

    from tools.guest import open_guest, Processes, read_table, free_list
    kernel = open_guest("kernel/kernel", ram="build/run/PID/ram")
    for p in Processes(kernel).used:
        table = read_table(kernel.memory, p.root, "user")
        print(p.pid, p.name, [hex(leaf.va) for leaf in table.leaves()])

It knows nothing of gdb, of printing, or of any kernel's version. docs/guest.md shows how to write a
check with it.
"""

from tools.guest.elf import Elf
from tools.guest.frames import FrameTable, FreeList, free_list
from tools.guest.kernel import Kernel, open_guest
from tools.guest.layout import Record, Type
from tools.guest.memory import (
    PAGE,
    RAM_BASE,
    BytesMemory,
    CachedMemory,
    CoreMemory,
    FileMemory,
    GuestError,
    Memory,
    Unreadable,
)
from tools.guest.processes import Hart, Process, Processes
from tools.guest.sv39 import Leaf, Problem, Range, Table, Walk, flag_text, read_table, walk

__all__ = [
    "PAGE",
    "RAM_BASE",
    "BytesMemory",
    "CachedMemory",
    "CoreMemory",
    "Elf",
    "FileMemory",
    "FrameTable",
    "FreeList",
    "GuestError",
    "Hart",
    "Kernel",
    "Leaf",
    "Memory",
    "Problem",
    "Process",
    "Processes",
    "Range",
    "Record",
    "Table",
    "Type",
    "Unreadable",
    "Walk",
    "flag_text",
    "free_list",
    "open_guest",
    "read_table",
    "walk",
]
