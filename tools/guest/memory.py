"""Where a guest's physical memory is read from: one small interface and the sources that need no
debugger.

A source reads bytes at a physical address and nothing else; no source can write. RAM is told apart
from devices by `extents`, because reading a device register may change the device.
"""

from __future__ import annotations

import bisect
import mmap
import os
import struct
from contextlib import contextmanager
from typing import Iterator, Optional, Sequence

PAGE = 4096
RAM_BASE = 0x8000_0000  # QEMU virt: hw/riscv/virt.c

Extent = tuple[int, int]  # [start, end) in physical bytes


class GuestError(Exception):
    """Something about the guest or its files that the user must be told in one line."""


class Unreadable(GuestError):
    """An address that is not in the guest's RAM."""


class Memory:
    """Physical memory of a guest. Sources override `extents` and `_fetch`."""

    def extents(self) -> Sequence[Extent]:
        """The ranges of physical addresses that are RAM."""
        raise NotImplementedError

    def _fetch(self, pa: int, size: int) -> bytes:
        """Read inside one extent, already checked."""
        raise NotImplementedError

    def contains(self, pa: int, size: int = 1) -> bool:
        """Is all of [pa, pa+size) RAM?"""
        return any(start <= pa and pa + size <= end for start, end in self.extents())

    def read(self, pa: int, size: int) -> bytes:
        """`size` bytes at physical address `pa`; raises Unreadable if any of them is not RAM."""
        if not self.contains(pa, size):
            raise Unreadable(f"physical address {pa:#x} (+{size:#x}) is not in the guest's RAM")
        return self._fetch(pa, size)

    def read_pages(self, addresses: Sequence[int], size: int = PAGE) -> list[bytes]:
        """The first `size` bytes of the pages at page-aligned addresses; sources with a round trip
        per read may override.
        """
        return [self.read(pa, size) for pa in addresses]

    def links(self) -> Optional[Sequence[int]]:
        """The first 64-bit word of each frame of RAM, where the source has them all at hand: the fast
        way to follow a list through the frames.
        """
        return None

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around everything one command reads: sources that must prepare for reading do it once
        here.
        """
        yield

    def bulk(self) -> Memory:
        """A source for reading much of RAM in small pieces, such as a free list linked through the
        frames.
        """
        return self

    def moved(self) -> None:
        """The guest has run: forget what was kept."""

    def close(self) -> None:
        """Let go of files and connections."""


class BytesMemory(Memory):
    """RAM given as bytes; what tests build and what a snapshot keeps."""

    def __init__(self, data: bytes | bytearray, base: int = RAM_BASE):
        self.data, self.base = data, base

    def extents(self) -> Sequence[Extent]:
        return [(self.base, self.base + len(self.data))]

    def _fetch(self, pa: int, size: int) -> bytes:
        return bytes(self.data[pa - self.base : pa - self.base + size])

    def links(self) -> Optional[Sequence[int]]:
        return memoryview(self.data)[: len(self.data) & -PAGE].cast("Q")[:: PAGE // 8]


class FileMemory(Memory):
    """A file whose byte 0 is the byte at `base`: QEMU's RAM file (live) or a raw dump. Mapped read-
    only.
    """

    def __init__(self, path: str, base: int = RAM_BASE):
        try:
            with open(path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                if size == 0:
                    raise GuestError(f"{path}: empty, not a memory image")
                self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as e:
            raise GuestError(f"{path}: {getattr(e, 'strerror', None) or e}") from None
        self.base, self._extents = base, [(base, base + size)]

    def extents(self) -> Sequence[Extent]:
        return self._extents

    def _fetch(self, pa: int, size: int) -> bytes:
        return self.map[pa - self.base : pa - self.base + size]

    def links(self) -> Optional[Sequence[int]]:
        return memoryview(self.map)[: len(self.map) & -PAGE].cast("Q")[:: PAGE // 8]

    def close(self) -> None:
        self.map.close()


class CoreMemory(Memory):
    """An ELF core as `dump-guest-memory` writes it: PT_LOAD segments placed by p_paddr (ELF-64
    object format).

    `registers` is what the NT_PRSTATUS notes hold, one {name: value} for each hart in file order.
    """

    def __init__(self, path: str):
        with _readable(path) as f:
            head = f.read(64)
            if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2:
                raise GuestError(f"{path}: not a 64-bit ELF file")
            kind, machine = struct.unpack_from("<HH", head, 16)
            if kind != 4 or machine != 243:
                raise GuestError(f"{path}: not a RISC-V core file")
            phoff, phentsize, phnum = *struct.unpack_from("<Q", head, 32), *struct.unpack_from(
                "<HH", head, 54
            )
            if phentsize < 56 or phoff + phentsize * phnum > os.fstat(f.fileno()).st_size:
                raise GuestError(f"{path}: damaged headers")
            f.seek(phoff)
            table = f.read(phentsize * phnum)
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.segments: list[tuple[int, int, int]] = []  # start, end, file offset
        self.registers: list[dict[str, int]] = []
        for i in range(len(table) // phentsize):
            p_type, _, offset, vaddr, paddr, filesz = struct.unpack_from(
                "<IIQQQQ", table, i * phentsize
            )
            filesz = min(filesz, max(0, len(self.map) - offset))
            if p_type == 1 and filesz:
                start = paddr if paddr or vaddr < RAM_BASE else vaddr
                self.segments.append((start, start + filesz, offset))
            elif p_type == 4:
                self.registers += _prstatus(self.map[offset : offset + filesz])
        if not self.segments:
            raise GuestError(f"{path}: a core without memory")

    def extents(self) -> Sequence[Extent]:
        return [(start, end) for start, end, _ in self.segments if start >= RAM_BASE]

    def _fetch(self, pa: int, size: int) -> bytes:
        for start, end, offset in self.segments:
            if start <= pa and pa + size <= end:
                return self.map[offset + pa - start : offset + pa - start + size]
        raise Unreadable(f"physical address {pa:#x} is not in the core")

    def close(self) -> None:
        self.map.close()


class CachedMemory(Memory):
    """Keeps what was read from a slow source until the guest moves: pages, or the first part of
    them, and longer ranges.
    """

    def __init__(self, source: Memory):
        self.source = source
        self.pages: dict[int, bytes] = {}
        self.starts: list[int] = []  # of the ranges, in order
        self.ranges: dict[int, bytes] = {}

    def extents(self) -> Sequence[Extent]:
        return self.source.extents()

    def _fetch(self, pa: int, size: int) -> bytes:
        page = self.pages.get(pa & ~(PAGE - 1))
        at = pa & (PAGE - 1)
        if page is not None and at + size <= len(page):
            return page[at : at + size]
        i = bisect.bisect_right(self.starts, pa)
        start = self.starts[i - 1] if i else 0
        if i and pa + size <= start + len(self.ranges[start]):
            return self.ranges[start][pa - start : pa - start + size]
        data = self.source.read(pa, size)
        if size == PAGE and not at:
            self.pages[pa] = data
            return data
        if start != pa:
            self.starts.insert(i, pa)
        self.ranges[pa] = data
        return data

    def read_pages(self, addresses: Sequence[int], size: int = PAGE) -> list[bytes]:
        missing = [pa for pa in dict.fromkeys(addresses) if len(self.pages.get(pa, b"")) < size]
        self.pages.update(zip(missing, self.source.read_pages(missing, size)))
        return [self.pages[pa][:size] for pa in addresses]

    @contextmanager
    def session(self) -> Iterator[None]:
        with self.source.session():
            yield

    def bulk(self) -> Memory:
        return self.source.bulk()

    def moved(self) -> None:
        self.pages.clear()
        self.starts.clear()
        self.ranges.clear()
        self.source.moved()

    def close(self) -> None:
        self.source.close()


REGISTERS = (
    "pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()  # the order of user_regs_struct in Linux's RISC-V ABI, which cores follow


def _prstatus(notes: bytes) -> list[dict[str, int]]:
    """The registers in the NT_PRSTATUS notes of a PT_NOTE segment; each value 64 bits little-
    endian.
    """
    found, at = [], 0
    while at + 12 <= len(notes):
        namesz, descsz, kind = struct.unpack_from("<III", notes, at)
        desc = at + 12 + (namesz + 3 & ~3)
        size = 8 * len(REGISTERS)
        if kind == 1 and descsz >= 112 + size and desc + descsz <= len(notes):
            found.append(
                dict(zip(REGISTERS, struct.unpack_from(f"<{len(REGISTERS)}Q", notes, desc + 112)))
            )
        at = desc + (descsz + 3 & ~3)
    return found


def _readable(path: str):  # type: ignore[no-untyped-def]
    try:
        return open(path, "rb")
    except OSError as e:
        raise GuestError(f"{path}: {e.strerror}") from None
