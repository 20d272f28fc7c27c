"""Builds kernels with user/bench.c as their /init, runs them, and reads what the plugin counter.c counted.

Relies on QEMU and on make in this tree and in others. Instructions are counted between the marks of
user/bench.h, on one hart under -icount, where nothing depends on the host's speed.
"""
from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.guests import ROOT, WORK, build, fail, machine, own_image, tree_image

SOURCE = ROOT / "user" / "bench.c"
HEADER = ROOT / "user" / "bench.h"

# What is derived from two measurements: name, the larger, the smaller, what to divide by.
DERIVED = [
    ("crypto_per_byte", "crypto68k", "crypto4k", 64 * 1024),
    ("trace_event", "getpid_two_events", "getpid_one_event", 1),
]


@dataclass
class Run:
    """What one kernel's guest gave.

    Attributes:
        counts: instructions per operation.
        places: where the profiled operation spent them: address to count.
        growth: for each curve, instructions by size.
        busiest: of each pair of marks by id, instructions of the hart that ran most; several harts only.
        ticks: what the guest timed, by name, in ticks of its clock.
        emitted: of one request with every event on, by event: how many records, of how many arguments.
    """

    counts: dict[str, float] = field(default_factory=dict)
    places: Counter[int] = field(default_factory=Counter)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    busiest: dict[int, list[int]] = field(default_factory=dict)
    ticks: dict[str, list[int]] = field(default_factory=dict)
    emitted: dict[str, list[int]] = field(default_factory=dict)


def plugin() -> Path:
    """The instruction counter, compiled."""
    library = WORK / "counter.so"
    source = ROOT / "tools" / "bench" / "counter.c"
    build(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)], ROOT)
    return library


def own() -> tuple[Path, Path]:
    """This tree's kernel, and the image for the operations."""
    build(["make", "all", "test-programs"], ROOT)
    return own_image(ROOT / "build/fs/bench")


def special(mode: str, blocks: int = 0) -> Path:
    """The image that asks bench_load.c for a measurement: growth, throughput or ask_usertests."""
    asked = WORK / mode
    asked.touch()
    programs: list[Path] = []
    if mode == "ask_usertests":
        names = {path.name for path in (ROOT / "build/fs").iterdir()} - {"init", "crypto_srv"}
        programs = [ROOT / "build/fs" / name for name in sorted(names)]
    load = ROOT / "build/test-programs/bench_load"
    return own_image(load, [asked, *programs], blocks, mode + ".image")[1]


def tree(source: Path) -> tuple[Path, Path]:
    """Another tree's kernel and image, in which /init is the benchmark."""
    header = source / "user" / "user.h"
    text = header.read_text() if header.is_file() else ""
    sharing = re.search(r"uint64\s+map_shared_pages\(int\s*\w*, int\s*\w*, uint64", text)
    shared = HEADER.read_text().replace("#pragma once\n", "")
    program = SOURCE.read_text().replace('#include "user/bench.h"\n', shared)
    return tree_image(source, ("#define BENCH_SHARE\n" if sharing else "") + program)


def guest(command: list[str], kernel: Path) -> Iterator[list[str]]:
    """Runs a guest up to the benchmark's last line; yields the words of each line it prints about itself."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            words = line.split()
            if "bench: failed" in line or "panic:" in line:
                fail(f"{kernel}: {line.strip()}")
            elif "bench: done" in line:
                return
            elif words[:1] == ["bench:"]:
                yield words[1:]
        fail(f"{kernel}: the guest ended before the benchmark did")
    finally:
        child.kill()
        child.wait()


def run(
    kernel: Path,
    image: Path,
    plugin_options: str,
    cpus: int = 1,
    counting: bool = True,
    memory: str = "128M",
) -> Run:
    """Boots the kernel, waits for the benchmark's end, and reads what was counted.

    Args:
        kernel: ELF file.
        image: its disk, not written to.
        plugin_options: the counter's file, and what it is asked for; empty for no counting.
        cpus: harts.
        counting: run under -icount: for one hart.
        memory: of the guest.
    """
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        out = Path(scratch) / "counts"
        command = machine(kernel, image, cpus, memory)
        command += ["-icount", "shift=0,sleep=off"] if counting else []
        command += ["-plugin", f"{plugin_options},out={out}"] if plugin_options else []
        names: dict[int, tuple[str, int]] = {}
        curves: dict[int, tuple[str, int, int]] = {}
        result = Run()
        for words in guest(command, kernel):
            if words[0] == "ticks":
                result.ticks.setdefault(words[1], []).append(int(words[2]))
            elif words[0] == "emitted":
                result.emitted[words[1]] = [int(words[2]), int(words[3])]
            elif words[0] == "grow":
                curves[int(words[1])] = (words[2], int(words[3]), int(words[4]))
            elif len(words) == 3:
                names[int(words[0])] = (words[1], int(words[2]))
        if plugin_options:
            read(out, names, curves, result)
        return result


def read(
    out: Path,
    names: dict[int, tuple[str, int]],
    curves: dict[int, tuple[str, int, int]],
    result: Run,
) -> None:
    """The counter's file: the least of each operation's rounds, divided by its repetitions.

    The least, because the disk answers in the host's time: a round may or may not also pay for a
    process switch, or for somebody else's commit.
    """
    rounds: dict[int, list[int]] = {}
    for line in out.read_text().splitlines():
        words = line.split()
        if words[0] == "at":
            result.places[int(words[1], 16)] = int(words[2])  # the last round's
            continue
        rounds.setdefault(int(words[0]), []).append(int(words[1]))
        if len(words) == 3:
            result.busiest.setdefault(int(words[0]), []).append(int(words[2]))
    for number, (name, times) in names.items():
        if number in rounds:
            result.counts[name] = min(rounds[number]) / times
    for name, larger, smaller, divisor in DERIVED:
        if larger in result.counts and smaller in result.counts:
            result.counts[name] = (result.counts[larger] - result.counts[smaller]) / divisor
    for number, (name, largest, times) in curves.items():
        values = rounds.get(number, [])
        sizes = [4**i for i in range((largest.bit_length() + 1) // 2)]
        result.growth[name] = {
            n: min(values[i * times : (i + 1) * times]) for i, n in enumerate(sizes)
        }
