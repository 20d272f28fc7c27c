"""Builds memory images of guests that never ran: kernel.c compiled, its variables set by name, page tables drawn.

Relies on a RISC-V compiler, as the build does.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from functools import lru_cache
from pathlib import Path

from tests.harness.expression import place
from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import PAGE, RAM_BASE, BytesMemory
from tools.guest.sv39 import A, D, R, U, V, W

SOURCE = Path(__file__).with_name("kernel.c")
RAM = 4 << 20  # bytes
FIRST = 1 << 20  # offset of the first frame that frame() gives out
UPPER = 0xFFFF_FFC0_0000_0000  # where the counted kernel sees physical address 0
DATA = V | R | W | U | A | D


@lru_cache
def compiled(folder: Path, counted: bool, flags: tuple[str, ...] = ()) -> Path:
    """The kernel, linked where it is loaded, or in the upper half if it counts; `flags` are the compiler's."""
    gcc = shutil.which("riscv64-unknown-elf-gcc") or "riscv64-linux-gnu-gcc"
    path = folder / "".join(["counted" if counted else "plain", *flags])
    where = UPPER + RAM_BASE if counted else RAM_BASE
    script = folder / f"{path.name}.ld"
    script.write_text(
        "ENTRY(_start) SECTIONS { . = %#x; .text : AT(0x80000000) { *(.text*) *(.rodata*) }"
        " .data : { *(.data* .sdata*) *(.bss* .sbss*) } PROVIDE(end = .); }" % where
    )
    command = [gcc, "-g", "-O1", "-nostdlib", "-ffreestanding", "-fno-common", "-mcmodel=medany"]
    command += ["-fno-omit-frame-pointer", "-fno-pie", "-no-pie", "-static", "-mno-relax"]
    command += ["-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments", "-T", str(script)]
    command += [*(["-DCOUNTED"] if counted else []), *flags]
    subprocess.run([*command, "-o", str(path), str(SOURCE)], check=True)
    return path


class Image:
    """RAM being filled. `kernel` reads it; set() and map() change it."""

    def __init__(self, folder: Path, counted: bool = False, flags: tuple[str, ...] = ()):
        self.path = compiled(folder, counted, flags)
        self.elf = Elf(str(self.path))
        self.ram = bytearray(RAM)
        self.memory = BytesMemory(self.ram)
        self.direct = UPPER if counted else 0
        self.next = RAM_BASE + FIRST
        for s in self.elf.segments:
            data = self.elf.bytes_at(s.vaddr, s.memsz)
            self.write(s.paddr, data)

    @property
    def kernel(self) -> Kernel:
        """A fresh view of the image."""
        return Kernel(self.elf, self.memory)

    def write(self, pa: int, data: bytes) -> None:
        """Puts bytes at a physical address."""
        self.ram[pa - RAM_BASE : pa - RAM_BASE + len(data)] = data

    def word(self, pa: int, value: int) -> None:
        """Puts 64 bits at a physical address."""
        self.write(pa, struct.pack("<Q", value & (1 << 64) - 1))

    def place(self, expression: str) -> tuple[int, int]:
        """Kernel address and size of `proc[1].lock.locked` and the like."""
        return place(self.elf, expression)

    def at(self, expression: str) -> int:
        """Kernel address of a variable or part of one."""
        return self.place(expression)[0]

    def set(self, expression: str, value: int | bytes) -> None:
        """Gives a variable or part of one a value."""
        address, size = self.place(expression)
        raw = (
            value
            if isinstance(value, bytes)
            else (value % (1 << 8 * size)).to_bytes(size, "little")
        )
        self.write(address - self.direct, raw)

    def frame(self) -> int:
        """A frame nobody uses yet, by physical address."""
        self.next += PAGE
        return self.next - PAGE

    def map(self, root: int, va: int, pa: int, flags: int = DATA, level: int = 0) -> int:
        """Makes a leaf at `level`, and the tables above it; returns the entry's physical address."""
        table = root
        for depth in range(2, level, -1):
            at = table + 8 * (va >> 12 + 9 * depth & 511)
            (entry,) = struct.unpack_from("<Q", self.ram, at - RAM_BASE)
            if not entry & V:
                entry = self.frame() >> 12 << 10 | V
                self.word(at, entry)
            table = entry >> 10 << 12
        at = table + 8 * (va >> 12 + 9 * level & 511)
        self.word(at, pa >> 12 << 10 | flags)
        return at

    def process(self, slot: int, pid: int, name: str = "sh", pages: int = 2, state: int = 2) -> int:
        """A process with `pages` of its own from address 0; returns its root."""
        root = self.frame()
        for i in range(pages):
            self.map(root, i * PAGE, self.frame())
        for field, value in (("pid", pid), ("state", state), ("sz", pages * PAGE)):
            self.set(f"proc[{slot}].{field}", value)
        self.set(f"proc[{slot}].pagetable", root + self.direct)
        self.set(f"proc[{slot}].name", name.encode().ljust(16, b"\0"))
        return root

    def free(self, *frames: int) -> None:
        """The free list, in this order."""
        previous = self.place("kmem.freelist")[0] - self.direct
        if "frames" in self.elf.symbols:
            table = RAM_BASE + (1 << 19)
            self.set("frames", table + self.direct)
            self.set("nframes", RAM // PAGE)
            numbers = [(pa - RAM_BASE) // PAGE for pa in frames] + [0xFFFF_FFFF]
            self.write(previous, struct.pack("<I", numbers[0]))
            for here, after in zip(numbers, numbers[1:]):
                self.write(table + 8 * here, struct.pack("<II", 0, after))
            return
        for pa in (*frames, 0):
            self.word(previous, pa)
            previous = pa

    def link(self, pa: int, after: int) -> None:
        """Makes `after` follow `pa` on the free list, whatever it is; free() has been called."""
        if "frames" in self.elf.symbols:
            number = (pa - RAM_BASE) // PAGE, (after - RAM_BASE) // PAGE
            self.write(RAM_BASE + (1 << 19) + 8 * number[0] + 4, struct.pack("<I", number[1]))
        else:
            self.word(pa, after)

    def count(self, pa: int, references: int, shares: int = 0) -> None:
        """A frame's reference count; free() has been called."""
        table = RAM_BASE + (1 << 19)
        self.write(table + 8 * ((pa - RAM_BASE) // PAGE), struct.pack("<II", references, shares))
