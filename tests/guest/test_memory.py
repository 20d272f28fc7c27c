"""Sources of memory and executables: what they read, and the one line they say when they cannot."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.guest.image import Image
from tools.guest import open_guest
from tools.guest.elf import Elf
from tools.guest.memory import (
    PAGE,
    RAM_BASE,
    REGISTERS,
    BytesMemory,
    CachedMemory,
    CoreMemory,
    FileMemory,
    GuestError,
    Memory,
    Unreadable,
)


class Counting(BytesMemory):
    """Notes what is asked of it."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.asked: list[tuple[int, int]] = []

    def _fetch(self, pa: int, size: int) -> bytes:
        self.asked.append((pa, size))
        return super()._fetch(pa, size)


def core(path: Path, ram: bytes, registers: list[dict[str, int]]) -> Path:
    """A core as QEMU's dump-guest-memory writes it: notes first, then one segment for RAM."""
    notes = b""
    for values in registers:
        regs = struct.pack("<32Q", *(values.get(n, 0) for n in REGISTERS))
        notes += struct.pack("<III8s", 5, 376, 1, b"CORE") + bytes(112) + regs + bytes(8)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 4, 243, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    at = 64 + 2 * 56
    table = struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), len(notes), 0)
    table += struct.pack(
        "<IIQQQQQQ", 1, 0, at + len(notes), RAM_BASE, RAM_BASE, len(ram), len(ram), 0
    )
    path.write_bytes(head + table + notes + ram)
    return path


def test_file_and_core_read_the_same(tmp_path: Path) -> None:
    ram = bytes(range(256)) * 64
    (tmp_path / "ram").write_bytes(ram)
    file = FileMemory(str(tmp_path / "ram"))
    dumped = CoreMemory(
        str(core(tmp_path / "core", ram, [{"pc": 0x8000_0010, "sp": 1}, {"pc": 2, "t6": 3}]))
    )
    sources: list[Memory] = [file, dumped, BytesMemory(ram), CachedMemory(BytesMemory(ram))]
    for source in sources:
        assert source.read(RAM_BASE + 0x102, 4) == b"\2\3\4\5"
        assert source.read_pages([RAM_BASE + PAGE]) == [ram[PAGE : 2 * PAGE]]
        with pytest.raises(Unreadable, match="0x80004000"):
            source.read(RAM_BASE + len(ram), 1)
        with pytest.raises(Unreadable):
            source.read(0x1000_0000, 1)  # a device: reading it might change it
    assert [r["pc"] for r in dumped.registers] == [0x8000_0010, 2]
    assert dumped.registers[1]["t6"] == 3


def test_cache_asks_once_until_the_guest_moves() -> None:
    source = Counting(bytes(4 * PAGE))
    cached = CachedMemory(source)
    for _ in range(3):
        cached.read_pages([RAM_BASE, RAM_BASE + PAGE])
        cached.read(RAM_BASE + 8, 8)
        cached.read(RAM_BASE + 2 * PAGE + 64, 100)
        cached.read(RAM_BASE + 2 * PAGE + 70, 10)
    assert len(source.asked) == 3
    cached.moved()
    cached.read(RAM_BASE + 8, 8)
    assert len(source.asked) == 4


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        (b"", "not a 64-bit ELF file"),
        (b"\x7fELF\2\1\1" + bytes(100), "not a RISC-V core"),
    ],
)
def test_bad_core(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "core"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GuestError, match=f"core: .*{message}"):
        CoreMemory(str(path))


def test_bad_files(tmp_path: Path, image: Image) -> None:
    """Each names the file and what is wrong with it."""
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello")
    whole = image.path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[:200])
    (tmp_path / "x86").write_bytes(whole[:18] + b"\x3e\0" + whole[20:])
    for name, message in (
        ("empty", "not a 64-bit little-endian ELF"),
        ("text", "not a 64-bit little-endian ELF"),
        ("cut", "truncated"),
        ("x86", "not for RISC-V"),
        ("missing", "No such file"),
    ):
        with pytest.raises(GuestError, match=f"{name}: {message}"):
            Elf(str(tmp_path / name))
    with pytest.raises(GuestError, match="empty, not a memory image"):
        FileMemory(str(tmp_path / "empty"))
    with pytest.raises(GuestError, match="exactly one"):
        open_guest(str(image.path))
    with pytest.raises(GuestError, match="not .HOST:.PORT"):
        open_guest(str(image.path), connect="here")


def test_debug_information_is_kept(image: Image, folder: Path, tmp_path: Path) -> None:
    """The second load takes what the first has kept; a rebuilt kernel is read anew."""
    copy = tmp_path / "kernel"
    copy.write_bytes(image.path.read_bytes())
    first = Elf(str(copy))
    assert first.variable("proc")
    kept = set((folder / "cache" / "xv6-glass").iterdir())
    again = Elf(str(copy))
    found = again.variable("proc")
    assert found and found[1].count == 8 and found[1].target
    assert [f.offset for f in found[1].target.fields.values()][:1] == [0]
    assert set((folder / "cache" / "xv6-glass").iterdir()) == kept
    copy.write_bytes(image.path.read_bytes() + b"\0")
    assert Elf(str(copy)).variable("proc")
    assert len(set((folder / "cache" / "xv6-glass").iterdir())) == len(kept) + 1


def test_without_a_cache(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is damaged or cannot be written costs time, nothing else."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Elf(str(image.path)).variable("cpus")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "damaged"))
    elf = Elf(str(image.path))
    elf.variable("cpus")
    for file in (tmp_path / "damaged" / "xv6-glass").iterdir():
        file.write_text("{")
    assert Elf(str(image.path)).variable("cpus")


def test_symbols_and_lines(image: Image) -> None:
    kernel = image.kernel
    assert kernel.name_of(image.at("bcache.buf[1].lock.pid")) == "bcache.buf[1].lock.pid"
    assert kernel.name_of(image.at("proc[3].name") + 2) == "proc[3].name[2]"
    sched = image.elf.symbols["sched"].address
    assert kernel.name_of(sched + 4) == "sched+0x4"
    place = kernel.place(sched + 4)
    assert place and place.startswith("sched (") and "kernel.c:" in place
    assert kernel.name_of(0x8030_0000) is None
    assert kernel.text(0x8030_0000) == ""
    assert kernel.text(0x1234) == "?0x1234"
    assert image.elf.lock_register and image.elf.lock_register[0][2] == "a0"
