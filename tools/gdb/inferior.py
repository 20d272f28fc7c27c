"""Physical memory through gdb's connection to QEMU, in as few packets as the stub allows.

The stub's physical mode (Qqemu.PhyMemMode) changes the meaning of every address, so it is on only
while this
module reads, and switched off in a `finally`: any other command of gdb in that mode would fill
gdb's caches with
wrong bytes. Where tools/run started the guest, its RAM file is read instead and no packet is sent
at all.
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

CHUNK = 1 << 20  # bytes asked of gdb in one call; gdb makes packets of 2 KiB of it
MANY = 8  # pages from which on QEMU is asked to write them to a file rather than to send them
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
        if self.file:
            return self.file.read(pa, size)
        with self.session():
            self._enter()
            parts = [
                self._read(at, min(CHUNK, pa + size - at)) for at in range(pa, pa + size, CHUNK)
            ]
        return b"".join(parts)

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
        if self.file:
            return [self.file.read(pa, PAGE) for pa in addresses]
        if len(addresses) >= MANY and self.same_host:
            pages = self._by_file(sorted(set(addresses)))
            if pages:
                return [pages[pa] for pa in addresses]
        with self.session():
            return [self._fetch(pa, PAGE) for pa in addresses]

    def _by_file(self, addresses: list[int]) -> dict[int, bytes]:
        """Pages through files that QEMU writes, near ones in one; empty if QEMU cannot write for
        us.
        """
        pages: dict[int, bytes] = {}
        i = 0
        while i < len(addresses):
            j = i
            while j + 1 < len(addresses) and addresses[j + 1] - addresses[j] <= GAP * PAGE:
                j += 1
            start, end = addresses[i], addresses[j] + PAGE
            data = self.dump(start, end - start)
            if data is None:
                return {}
            for pa in addresses[i : j + 1]:
                pages[pa] = data[pa - start : pa - start + PAGE]
            i = j + 1
        return pages

    def dump(self, pa: int, size: int) -> Optional[bytes]:
        """RAM through a file that QEMU writes in one go (monitor command pmemsave); None if it does
        not.
        """
        if self.folder is None:
            room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self.folder = tempfile.mkdtemp(prefix="xv6-gdb.", dir=room)
            os.chmod(self.folder, 0o700)
        path = os.path.join(self.folder, "ram")
        try:
            monitor(f'pmemsave {pa:#x} {size:#x} "{path}"')
            with open(path, "rb") as f:
                data = f.read()
        except (OSError, gdb.error):
            data = b""
        if len(data) != size:
            self.same_host = False  # QEMU runs elsewhere, or as somebody else
            return None
        return data

    def bulk(self) -> Memory:
        if self.file:
            return self.file
        start, end = self._extents[0]
        data = self.dump(start, end - start) if self.same_host else None
        if data is None:
            return self
        from tools.guest.memory import BytesMemory

        return BytesMemory(data, start)

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
