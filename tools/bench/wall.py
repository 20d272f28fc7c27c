"""What only a clock can tell: boot, usertests and an idle guest, beside other trees in the same run, and throughput.

Seconds say nothing about another machine, so every row is measured for all kernels in turn, several
rounds, and the medians are compared. All guests have three harts, but for the idle ones with eight.
"""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from pathlib import Path

from tools.bench.counted import run, special
from tools.bench.guests import ROOT, WORK, build, fail, machine

PATIENCE = (
    3600  # seconds a guest may live: usertests of xv6 take long on a machine that does other things
)
IDLE_SECONDS = 4
REQUESTS = 1000  # of bench_load.c's throughput(), by 8 clients
CLIENTS_MARK = 26
TICKS_PER_SECOND = 10_000_000  # of the virt machine's clock


class Clocked:
    """A guest whose console is watched by the clock. Use it as a context manager."""

    def __init__(self, kernel: Path, image: Path, cpus: int) -> None:
        """Starts QEMU; `started` is when."""
        command = machine(kernel, image, cpus)
        self.kernel = kernel
        self.started = time.monotonic()
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Clocked:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()

    def wait_for(self, *texts: bytes) -> bytes:
        """Reads the console until one of the texts has come; that text."""
        assert self.child.stdout is not None
        seen = b""
        while not any(text in seen for text in texts):
            part = os.read(self.child.stdout.fileno(), 4096)
            seen = seen[-4096:] + part
            if not part or time.monotonic() - self.started > PATIENCE or b"panic:" in seen:
                fail(
                    f"{self.kernel}: no {texts[0].decode()!r}: {seen[-200:].decode(errors='replace')}"
                )
        return next(text for text in texts if text in seen)

    def prompt(self) -> float:
        """Waits for the shell; seconds since the start."""
        self.wait_for(b"$ ")
        return time.monotonic() - self.started

    def type(self, line: str) -> None:
        """A line at the console."""
        assert self.child.stdin is not None
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def processor_seconds(self) -> float:
        """Host processor time QEMU has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def boot(kernel: Path, image: Path) -> float:
    """Seconds from power-on to the prompt."""
    with Clocked(kernel, image, 3) as guest:
        return guest.prompt()


def usertests(kernel: Path, image: Path) -> tuple[float, float]:
    """Seconds of usertests -q, and processor seconds of the host."""
    with Clocked(kernel, image, 3) as guest:
        guest.prompt()
        start, used = time.monotonic(), guest.processor_seconds()
        guest.type("usertests -q")
        if guest.wait_for(b"ALL TESTS PASSED", b"SOME TESTS FAILED") != b"ALL TESTS PASSED":
            fail(f"{kernel}: usertests failed")
        return time.monotonic() - start, guest.processor_seconds() - used


def idle(kernel: Path, image: Path) -> float:
    """Per cent of one host core that a guest with eight harts and nothing to do uses."""
    with Clocked(kernel, image, 8) as guest:
        guest.prompt()
        time.sleep(2)
        before, start = guest.processor_seconds(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return 100 * (guest.processor_seconds() - before) / (time.monotonic() - start)


def plain(source: Path) -> Path:
    """Another tree, built in a copy as it is."""
    copy = WORK / "plain" / source.resolve().name.replace(" ", "_")
    if not copy.is_dir():
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git"))
        (copy / "README").touch()
        makefile = copy / "Makefile"
        makefile.write_text(makefile.read_text().replace("-Werror", ""))
    build(["make", "kernel/kernel", "fs.img"], copy)
    return copy


def foreign_usertests(other: Path) -> Path:
    """An image of ours with the other tree's usertests in place of our own."""
    scratch = WORK / "foreign"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(ROOT / "build/fs", scratch)
    shutil.copy(other / "user/_usertests", scratch / "usertests")
    image = WORK / "foreign.img"
    files = [str(path) for path in sorted(scratch.iterdir())]
    build([str(ROOT / "build/mkfs/mkfs"), str(image), *files], ROOT)
    return image


def compare(sources: list[Path], rounds: int) -> dict[str, dict[str, float]]:
    """Each row by tree, this one first. The rows are page.WALL_ROWS.

    Boot and idling are medians of so many rounds, all kernels in turn. usertests takes xv6 many
    minutes: one run of it between two of ours, of which the mean, so that both saw the same machine.
    """
    guests = {"xv6-glass": (ROOT / "kernel/kernel", ROOT / "fs.img")}
    others = {source.resolve().name: plain(source) for source in sources}
    guests |= {name: (copy / "kernel/kernel", copy / "fs.img") for name, copy in others.items()}
    seen: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in guests}
    foreign = foreign_usertests(next(iter(others.values()))) if others else None

    def tests(name: str, row: str, kernel: Path, image: Path) -> None:
        seconds, processor = usertests(kernel, image)
        seen[name][row + "_seconds"].append(seconds)
        seen[name][row + "_processor_seconds"].append(processor)

    def our_tests() -> None:
        tests("xv6-glass", "usertests", ROOT / "kernel/kernel", ROOT / "fs.img")
        if foreign:
            tests("xv6-glass", "xv6_usertests", ROOT / "kernel/kernel", foreign)

    for _ in range(rounds):
        for name, (kernel, image) in guests.items():
            seen[name]["boot_seconds"].append(boot(kernel, image))
            seen[name]["idle_percent"].append(idle(kernel, image))
    our_tests()
    for name, copy in others.items():
        tests(name, "usertests", copy / "kernel/kernel", copy / "fs.img")
    our_tests()
    return {
        name: {row: statistics.median(values) for row, values in rows.items()}
        for name, rows in seen.items()
    }


def throughput(kernel: Path, counter: Path) -> dict[str, dict[str, float]]:
    """For 1, 2, 4 and 8 harts: 1,000 requests of 8 clients (bench_load.c).

    requests_per_second is wall time, bounded by the host's cores; requests_per_million is requests
    per million instructions of the hart that executes most, which would bound a machine that has a
    core for each hart. Medians of the guest's rounds.
    """
    result = {}
    image = special("throughput")
    for cpus in (1, 2, 4, 8):
        clocked = run(kernel, image, "", cpus, counting=False)
        counted = run(kernel, image, f"{counter},harts=1", cpus, counting=False)
        result[str(cpus)] = {
            "requests_per_second": REQUESTS
            * TICKS_PER_SECOND
            / statistics.median(clocked.ticks["clients"]),
            "requests_per_million": REQUESTS
            * 1e6
            / statistics.median(counted.busiest[CLIENTS_MARK]),
        }
    return result
