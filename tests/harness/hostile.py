"""What the readers of the host's tools are given to read, damaged from a seed.

A reader takes a folder and a seed, damages one input and runs one tool's reader on it; it raises whatever a user
would meet as a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.guest.image import DATA, Image
from tests.harness import mutate
from tests.trace.synthetic import Story, written
from tools.gdb.commands import COMMANDS
from tools.gdb.report import to_json, to_text
from tools.gdb.session import Session
from tools.guest.kernel import Kernel, open_guest
from tools.guest.memory import GuestError
from tools.guest.processes import Processes
from tools.guest.snapshot import Snapshot, diff, take
from tools.guest.sv39 import S
from tools.trace import cli, tracefile

Reader = Callable[[Path, random.Random], None]
LINES = "ps; pagetable 1; pagetable 2 --check; walk 0x1000 1; shmem; shmem check; locks; frames; shmtrace; ps 1 -b"


def guest(folder: Path) -> Image:
    """A small sound guest: two processes with a page shared between them."""
    image = Image(folder)
    image.free(image.frame())
    image.process(0, 1, "cli", pages=3)
    other = image.process(1, 2, "srv")
    image.map(other, 0x2000, 0x8020_0000, DATA | S)
    return image


def look(kernel: Kernel, rng: random.Random) -> None:
    """A few of gdb's commands, as text and as JSON; each may refuse in one line."""
    session = Session(kernel)
    for line in rng.sample(LINES.split("; "), 3):
        name, *words = line.split()
        command = next(c for c in COMMANDS if c.name == name)()
        arguments: argparse.Namespace = command.parser().parse_args(words)

        def run() -> None:
            report = command.run(session, arguments)
            to_text(report)
            to_json(report)

        mutate.judged(run, GuestError)


def noisy_memory(folder: Path, rng: random.Random) -> None:
    """A guest's memory: variables, page tables, stacks overwritten, the file cut off."""
    image = guest(folder)
    size = len(image.ram)
    places = [(s.paddr - 0x8000_0000, s.memsz) for s in image.elf.segments] + [(1 << 20, 1 << 17)]
    ram = folder / "ram"
    ram.write_bytes(
        mutate.damaged(bytes(image.ram), rng, places) if rng.random() < 0.8 else rng.randbytes(size)
    )
    kernels: list[Kernel] = []
    if (
        mutate.judged(lambda: kernels.append(open_guest(str(image.path), ram=str(ram))), GuestError)
        is None
    ):
        look(kernels[0], rng)
        kernels[0].memory.close()


def lying_elf(folder: Path, rng: random.Random) -> None:
    """A kernel's ELF file: headers, sections, symbols, debug information."""
    image = guest(folder)
    data = image.path.read_bytes()
    shoff, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    places = [(0, 64), (64, 56 * 4), (shoff, 64 * count)]
    for i in range(count):
        offset, size = struct.unpack_from("<QQ", data, shoff + 64 * i + 24)
        places.append((offset, size))
    path, ram = folder / "lies", folder / "ram"
    path.write_bytes(mutate.damaged(data, rng, places))
    ram.write_bytes(image.ram)
    kernels: list[Kernel] = []
    if (
        mutate.judged(lambda: kernels.append(open_guest(str(path), ram=str(ram))), GuestError)
        is None
    ):
        look(kernels[0], rng)
        kernels[0].memory.close()


def broken_core(folder: Path, rng: random.Random) -> None:
    """An ELF core: its headers and notes."""
    image = guest(folder)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 4, 243, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    note = struct.pack("<III", 5, 336, 1) + b"CORE\0\0\0\0" + bytes(336)
    start = 64 + 2 * 56
    segments = struct.pack("<IIQQQQQQ", 4, 0, start, 0, 0, len(note), len(note), 0)
    segments += struct.pack(
        "<IIQQQQQQ", 1, 7, 4096, 0, 0x8000_0000, len(image.ram), len(image.ram), 0
    )
    data = (header + segments + note).ljust(4096, b"\0") + image.ram
    core = folder / "core"
    core.write_bytes(mutate.damaged(data, rng, [(0, start), (start, len(note))]))
    kernels: list[Kernel] = []
    if (
        mutate.judged(
            lambda: kernels.append(open_guest(str(image.path), core=str(core))), GuestError
        )
        is None
    ):
        look(kernels[0], rng)
        kernels[0].memory.close()


def damaged_snapshot(folder: Path, rng: random.Random) -> None:
    """A snapshot's JSON, as `diff` reads it."""
    now = take(Processes(guest(folder).kernel))
    text = mutate.damaged(now.to_json().encode(), rng).decode("utf-8", "replace")
    mutate.judged(lambda: diff(Snapshot.from_json(text), now), GuestError)


def trace_of(folder: Path) -> Path:
    """A saved trace with two requests, in several chunks."""
    story = Story().process(1, "init").process(2, "crypto_srv")
    story.fork(pid=1, child=5, root=0x8200_0000).request(1).request(2)
    return written(story, folder / "sound.xt")


def damaged_trace(folder: Path, rng: random.Random) -> None:
    """A saved trace: cut off, its tables, lengths and records overwritten; every way of looking at it."""
    sound = trace_of(folder).read_bytes()
    path = folder / "damaged.xt"
    path.write_bytes(mutate.damaged(sound, rng, [(0, 400), (len(sound) // 2, len(sound) // 2)]))
    what = rng.choice(
        [
            "show",
            "show --json",
            "check",
            "stats --json",
            "export --csv OUT",
            "export --perfetto OUT",
        ]
    )
    words = [str(folder / "out") if w == "OUT" else w for w in what.split()]
    command, message = [words[0], str(path), *words[1:]], io.StringIO()

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(message):
            status = cli.main(command)
        assert status in (0, 1, 2), (status, command)
        if status == 2:
            lines = message.getvalue().splitlines()
            assert lines and lines[-1].startswith("xv6-trace: "), lines

    mutate.judged(run, tracefile.TraceError)


READERS: list[Reader] = [noisy_memory, lying_elf, broken_core, damaged_snapshot, damaged_trace]


def try_seeds(reader: Reader, folder: Path, seeds: Iterable[int]) -> int:
    """Runs a reader with each seed; how many. A failure names the seed that repeats it."""
    count = 0
    for seed in seeds:
        try:
            reader(folder, random.Random(f"{reader.__name__} {seed}"))
        except BaseException as error:
            error.add_note(f"{reader.__name__}, seed {seed}")
            raise
        count += 1
    return count
