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
GAP = 64 << 10  # bytes nobody asked for that QEMU writes as fast as it answers a further request


class InferiorMemory(Memory):
    """RAM of the guest gdb is connected to."""

    def __init__(self) -> None:
        self.physical = False  # is the stub in physical mode?
        self.depth = 0  # of session()
        self._extents = [(RAM_BASE, RAM_BASE + self._ram_size())]
        self.file = ram_file()
        self.folder: Optional[str] = None  # where QEMU writes files; None until one is needed
        self.same_host = True  # has every such file appeared?
        self.written: list[FileMemory] = []  # what QEMU has written of RAM as of this stop

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
        known = self._known(pa, size)
        if known is None and size > PACKET:
            known = self._write(pa, size)
        if known is not None:
            return known.read(pa, size)
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

    def read_pages(self, addresses: Sequence[int], size: int = PAGE) -> list[bytes]:
        for pa in addresses:
            if not self.contains(pa, size):
                raise Unreadable(f"physical address {pa:#x} is not in the guest's RAM")
        with self.session():
            wanted = sorted({pa for pa in addresses if self._known(pa, size) is None})
            while wanted and self.same_host:
                n = 1
                while n < len(wanted) and wanted[n] - wanted[n - 1] <= GAP:
                    n += 1
                self._write(wanted[0], wanted[n - 1] + size - wanted[0])
                del wanted[:n]
            pages = {pa: self._fetch(pa, size) for pa in sorted(set(addresses))}
        return [pages[pa] for pa in addresses]

    def _known(self, pa: int, size: int) -> Optional[FileMemory]:
        """A file that has these bytes as they are now."""
        files = (self.file,) if self.file else self.written
        return next((f for f in files if f.contains(pa, size)), None)

    def _write(self, pa: int, size: int) -> Optional[FileMemory]:
        """Has QEMU write RAM to a file of ours (its monitor's pmemsave): one packet. None if that
        does not work here.
        """
        if not self.same_host:
            return None
        if self.folder is None:
            room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self.folder = tempfile.mkdtemp(prefix="xv6-gdb.", dir=room)
        path = os.path.join(self.folder, "ram")
        try:
            monitor(f'pmemsave {pa:#x} {size:#x} "{path}"')
            if os.path.getsize(path) == size:
                self.written.insert(0, FileMemory(path, pa))
                os.unlink(path)
                return self.written[0]
        except (OSError, GuestError):
            pass
        self.same_host = False  # QEMU runs elsewhere, or as somebody else, or the disk is full
        return None

    def bulk(self) -> Memory:
        start, end = self._extents[0]
        return self._known(start, end - start) or self._write(start, end - start) or self

    def moved(self) -> None:
        for file in self.written:
            file.close()
        self.written.clear()

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
