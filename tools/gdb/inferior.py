"""Physical memory through gdb's connection to QEMU, in as few packets as the stub allows.

The stub's physical mode (Qqemu.PhyMemMode) changes the meaning of every address, so it is on only
while this module reads, and switched off in a `finally`: any other command of gdb in that mode
would fill gdb's caches with wrong bytes. Where tools/run started the guest, its RAM file is read
instead and no packet is sent at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence

import gdb

from tools.guest.memory import PAGE, RAM_BASE, Extent, FileMemory, GuestError, Memory, Unreadable

CHUNK = 1 << 20  # bytes asked of gdb in one call; gdb makes packets of PACKET bytes of it
PACKET = 2048  # bytes of memory in one packet: more than that is cheaper through a file
GAP = 8  # unwanted pages between two wanted ones that may be written along


class InferiorMemory(Memory):
    """RAM of the guest gdb is connected to."""

    def __init__(self) -> None:
        self.physical = False  # is the stub in physical mode?
        self.depth = 0  # of session()
        self._extents = [(RAM_BASE, RAM_BASE + self._ram_size())]
        self.file = ram_file()
        self.folder: Optional[str] = None  # where QEMU writes pages; None until it is needed
        self.same_host = True  # has every such file appeared?
        self.whole: Optional[FileMemory] = None  # all of RAM as of this stop, once it was needed

    def extents(self) -> Sequence[Extent]:
        return self._extents

    @staticmethod
    def _ram_size() -> int:
        text = monitor("info memory_size_summary")
        match = re.search(r"base memory: (\d+)", text)
        if not match:
            raise GuestError(
                "the remote target is no QEMU, or does not tell how much memory it has"
            )
        return int(match[1])

    def _fetch(self, pa: int, size: int) -> bytes:
        known = self.file or self.whole
        if known:
            return known.read(pa, size)
        data = self._dump(pa, size) if size > PACKET else None
        if data is not None:
            return data
        with self.session():
            self._enter()
            ends = range(pa, pa + size, CHUNK)
            return b"".join(self._read(at, min(CHUNK, pa + size - at)) for at in ends)

    @staticmethod
    def _read(pa: int, size: int) -> bytes:
        try:
            return bytes(gdb.selected_inferior().read_memory(pa, size))
        except gdb.error as e:
            raise Unreadable(f"physical address {pa:#x}: {e}") from None

    def read_pages(self, addresses: Sequence[int]) -> list[bytes]:
        for pa in addresses:
            if not self.contains(pa, PAGE):
                raise Unreadable(f"physical address {pa:#x} is not in the guest's RAM")
        pages: dict[int, bytes] = {}
        order = sorted(set(addresses))
        with self.session():
            while order:
                n = 1
                while n < len(order) and order[n] - order[n - 1] <= GAP * PAGE and self.same_host:
                    n += 1
                start = order[0]
                data = self._fetch(start, order[n - 1] + PAGE - start)
                for pa in order[:n]:
                    pages[pa] = data[pa - start : pa - start + PAGE]
                del order[:n]
        return [pages[pa] for pa in addresses]

    def _dump(self, pa: int, size: int) -> Optional[bytes]:
        """RAM through a file that QEMU writes: one packet. None if that does not work here."""
        path = self._written(pa, size)
        if path is None:
            return None
        with open(path, "rb") as f:
            return f.read()

    def _written(self, pa: int, size: int) -> Optional[str]:
        """Has QEMU write RAM to a file of ours (its monitor's pmemsave); the path, or None."""
        if not self.same_host:
            return None
        if self.folder is None:
            room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self.folder = tempfile.mkdtemp(prefix="xv6-gdb.", dir=room)
        path = os.path.join(self.folder, "ram")
        try:
            monitor(f'pmemsave {pa:#x} {size:#x} "{path}"')
            if os.path.getsize(path) == size:
                return path
        except (OSError, GuestError):
            pass
        self.same_host = False  # QEMU runs elsewhere, or as somebody else, or the disk is full
        return None

    def bulk(self) -> Memory:
        if self.file or self.whole:
            return self.file or self.whole or self
        start, end = self._extents[0]
        path = self._written(start, end - start)
        if path is None:
            return self
        self.whole = FileMemory(path, start)
        os.unlink(path)
        return self.whole

    def moved(self) -> None:
        if self.whole:
            self.whole.close()
            self.whole = None

    @contextmanager
    def session(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                self.leave()

    def _enter(self) -> None:
        if not self.physical:
            self.physical = True
            gdb.execute("maint packet Qqemu.PhyMemMode:1", to_string=True)

    def leave(self) -> None:
        """Back to virtual addresses: before anything else of gdb is used."""
        if self.physical:
            self.physical = False
            gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)

    def close(self) -> None:
        self.moved()
        if self.file:
            self.file.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


def monitor(command: str) -> str:
    """What QEMU's monitor answers; raises GuestError without a connection to QEMU."""
    try:
        return str(gdb.execute(f"monitor {command}", to_string=True))
    except gdb.error as e:
        raise GuestError(f"gdb is not connected to QEMU: {e}") from None


def ram_file() -> Optional[FileMemory]:
    """The RAM file of the guest gdb is connected to, if tools/run of this tree started it on this
    machine.
    """
    connection = gdb.selected_inferior().connection
    details = getattr(connection, "details", None) or ""
    host, _, port = details.rpartition(":")
    if host not in ("", "localhost", "127.0.0.1", "::1", "tcp:127.0.0.1", "tcp:localhost"):
        return None
    runs = Path(__file__).resolve().parents[2] / "build" / "run"
    for description in runs.glob("*/guest.json"):
        try:
            guest = json.loads(description.read_text())
            if str(guest["gdb"]) == port:
                os.kill(guest["qemu"], 0)
                return FileMemory(guest["ram"])
        except (OSError, ValueError, KeyError, TypeError, GuestError):
            continue
    return None
