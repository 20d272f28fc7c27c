"""The trace rings of a guest (kernel/trace.h); what their records mean is events.py's.

Reading follows the protocol of trace.h: copy record n, then read head; the copy is good if its
sequence number is n + 1 and head is at most n + capacity. So a live guest can be followed through
its RAM file.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Iterator

from tools.guest.events import Event
from tools.guest.kernel import Kernel
from tools.guest.layout import split
from tools.guest.memory import GuestError

MAGIC = 0x31474E4952367678
VERSION = 1
RECORD = struct.Struct("<QQHHi5Q")
HEADER = struct.Struct("<QIIIIQQ")
HEAD_OFFSET = 64  # of `head`, on the header's second cache line


@dataclass
class Copy:
    """Some records of a ring as raw bytes, all of them whole, in order.

    `lost` counts those between the position asked for and `end` that are not among them; the next
    copy goes on at `end`.
    """

    data: bytes
    end: int
    lost: int

    def events(self) -> Iterator[Event]:
        """The records decoded."""
        for time, sequence, event, hart, pid, *args in RECORD.iter_unpack(self.data):
            yield Event(time, sequence, event, hart, pid, tuple(args))


class Ring:
    """One hart's ring; `pa` is the physical address of its header. Raises GuestError if none is
    there.
    """

    def __init__(self, kernel: Kernel, pa: int):
        self.memory, self.pa = kernel.memory, pa
        magic, version, size, self.capacity, self.hart, self.frequency, offset = HEADER.unpack(
            self.memory.read(pa, HEADER.size)
        )
        if magic != MAGIC:
            raise GuestError(f"no trace ring at {pa:#x}: its magic number is {magic:#x}")
        if version != VERSION or size != RECORD.size:
            raise GuestError(
                f"trace ring of version {version} with {size}-byte records: not known here"
            )
        if not self.capacity or self.capacity & self.capacity - 1 or not self.frequency:
            raise GuestError(f"trace ring at {pa:#x}: damaged header")
        self.records = pa + offset

    def head(self) -> int:
        """Records taken so far."""
        return int.from_bytes(self.memory.read(self.pa + HEAD_OFFSET, 8), "little")

    def copy(self, position: int = 0, stopped: bool = True) -> Copy:
        """The records from number `position` (from 0) on.

        stopped: the guest does not run, so a record not finished never will be, and is left out.
        Otherwise the copy ends before such a record, since it is about to be finished.
        """
        head, size = self.head(), RECORD.size
        start = max(position, head - self.capacity)
        slot, n = start % self.capacity, max(0, head - start)
        part = min(n, self.capacity - slot)
        data = self.memory.read(self.records + slot * size, part * size) if part else b""
        data += self.memory.read(self.records, (n - part) * size) if n > part else b""
        safe = start if stopped else max(start, self.head() - self.capacity)
        data = data[(safe - start) * size :]
        sequences = array("Q", data)[1::8]
        end = safe + len(sequences)
        if sequences != array("Q", range(safe + 1, end + 1)):
            good = [i for i, s in enumerate(sequences) if s == safe + 1 + i]
            if not stopped:
                end = safe + next(i for i, s in enumerate(sequences) if s != safe + 1 + i)
                good = list(range(end - safe))
            data = b"".join(data[i * size : i * size + size] for i in good)
        end = max(end, position)
        return Copy(data, end, end - position - len(data) // size)


def rings(kernel: Kernel) -> list[Ring]:
    """The rings there are, by hart; empty if this kernel has none or has not made them yet."""
    found = kernel.elf.variable("trace_rings")
    if found is None:
        return []
    pointers = [p.data for p in split(found[1], found[0], kernel.read(found[0], found[1].size))]
    places = [kernel.to_pa(int.from_bytes(p, "little")) for p in pointers if any(p)]
    return [Ring(kernel, pa) for pa in places if pa is not None]
