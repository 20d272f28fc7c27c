"""What a disk may hold after a crash: a recorded run of tests/fs_host, cut everywhere, in every order there may be.

Between two flushes the device may keep any of the writes since the first of them and lose any other: each sector, 512
bytes, then holds what it held at the flush, or any of the versions written since. A killed QEMU loses nothing: then
the disk holds all writes up to some point.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import fs_host
from tests.harness.fs_host import BLOCK

SECTOR = 512


@dataclass
class Mark:
    """An operation that returned.

    Attributes:
        writes: done by then, the start of the trace counting as 0.
        flushes: done by then, the start counting as one.
        synced: whether it promised that all before it survives a power cut.
        state: what the tree then hashes to.
    """

    writes: int
    flushes: int
    synced: bool
    state: int


@dataclass
class Recording:
    """What reached the disk, and what the tree should have looked like meanwhile.

    Attributes:
        writes: (block, content) in order.
        flushes: how many writes each flush found done, in order; the start counts as one.
        marks: each operation that returned.
    """

    writes: list[tuple[int, bytes]] = field(default_factory=list)
    flushes: list[int] = field(default_factory=lambda: [0])
    marks: list[Mark] = field(default_factory=list)

    def after_kill(self, writes: int) -> set[int]:
        """States that may be found when QEMU was killed behind so many writes."""
        latest = sum(mark.writes <= writes for mark in self.marks)
        return {mark.state for mark in self.marks[latest - 1 : latest + 1]}  # one may be under way

    def after_power_cut(self, flushes: int, last: int) -> set[int]:
        """States that may be found when the power went behind so many flushes and the last write kept is `last`."""
        synced = [i for i, m in enumerate(self.marks) if m.synced and m.flushes <= flushes]
        under_way = sum(m.flushes < flushes or m.writes < last for m in self.marks)
        return {mark.state for mark in self.marks[synced[-1] : max(synced[-1], under_way) + 1]}


@dataclass
class Image:
    """A disk after a crash: how it came about, what it holds, the states a boot may find on it."""

    what: str
    content: bytes
    allowed: set[int]


def read_trace(path: Path) -> Recording:
    """Parses the trace file of tests/fs_host/disk.c."""
    data = path.read_bytes()
    recording = Recording()
    at = 0
    while at < len(data):
        kind, value = struct.unpack_from("<II", data, at)
        at += 8
        if kind == 1:
            recording.writes.append((value, data[at : at + BLOCK]))
            at += BLOCK
        elif kind == 2:
            recording.flushes.append(len(recording.writes))
        else:
            synced, state = struct.unpack_from("<IQ", data, at)
            done = len(recording.writes), len(recording.flushes)
            recording.marks.append(Mark(*done, bool(synced), state))
            at += 12
    return recording


def prefixes(recording: Recording, base: bytes) -> Iterator[Image]:
    """QEMU killed after each write."""
    image = bytearray(base)
    for n, (block, content) in enumerate([(0, base[:BLOCK]), *recording.writes]):
        image[block * BLOCK : (block + 1) * BLOCK] = content
        yield Image(f"killed after {n} writes", bytes(image), recording.after_kill(n))


# For each sector written since a flush, its versions: how many writes are done with it, and the bytes.
Versions = dict[int, list[tuple[int, bytes]]]


def versions(recording: Recording, image: bytes, start: int, end: int) -> Versions:
    """The versions, each other than the one before it, that writes [start, end) make of `image`'s sectors."""
    found: Versions = {}
    for n in range(start, end):
        block, content = recording.writes[n]
        for half in range(BLOCK // SECTOR):
            sector = block * BLOCK // SECTOR + half
            data = content[half * SECTOR : (half + 1) * SECTOR]
            known = found.get(sector)
            last = known[-1][1] if known else image[sector * SECTOR : (sector + 1) * SECTOR]
            if data != last:
                found.setdefault(sector, []).append((n + 1, data))
    return found


def choices(there: Versions, limit: int, rng: random.Random) -> Iterator[list[int]]:
    """For each sector the version kept, 0 for none: every combination, or `limit` of them if there are more."""
    counts = [len(v) + 1 for v in there.values()]
    total = math.prod(counts)
    if total <= limit:
        for number in range(total):
            choice = []
            for count in counts:
                number, version = divmod(number, count)
                choice.append(version)
            yield choice
        return
    for _ in range(limit):
        kept = rng.random()  # few, half or nearly all of them
        yield [rng.randrange(1, count) if rng.random() < kept else 0 for count in counts]


def power_cuts(
    recording: Recording, base: bytes, limit: int, rng: random.Random
) -> Iterator[Image]:
    """Power cuts between each two flushes: every combination of sectors, or `limit` for each pair of flushes."""
    image = bytearray(base)
    ends = [*recording.flushes[1:], len(recording.writes)]
    for flushes, (start, end) in enumerate(zip(recording.flushes, ends), 1):
        there = versions(recording, image, start, end)
        for choice in choices(there, limit, rng):
            cut, last = bytearray(image), start
            for (sector, known), version in zip(there.items(), choice):
                if version:
                    last = max(last, known[version - 1][0])
                    cut[sector * SECTOR : (sector + 1) * SECTOR] = known[version - 1][1]
            allowed = recording.after_power_cut(flushes, last)
            kept = dict(zip(there, choice))
            what = f"power cut between writes {last} and {end}, {start} flushed, sectors {kept}"
            yield Image(what, bytes(cut), allowed)
        for block, content in recording.writes[start:end]:
            image[block * BLOCK : (block + 1) * BLOCK] = content


def record(program: Path, folder: Path, seed: int, operations: int) -> tuple[Recording, bytes]:
    """Runs so many operations on an empty disk of 400 blocks; what it wrote, and the disk before."""
    image = fs_host.new_image(folder / "fs.img", 400)
    base = image.read_bytes()
    fs_host.run(program, "random", image, seed, operations, folder / "trace")
    return read_trace(folder / "trace"), base


def check(program: Path, folder: Path, image: Image) -> None:
    """Boots on an image: consistent before and after, and in a state that is allowed."""
    path = folder / "crashed.img"
    path.write_bytes(image.content)
    assert fs_host.remount(program, path) in image.allowed, image.what


def second_crashes(
    program: Path, folder: Path, image: Image, limit: int, rng: random.Random
) -> Iterator[Image]:
    """What crashes during the boot on an image may leave; the same states are allowed as after the first."""
    path, trace = folder / "twice.img", folder / "twice.trace"
    path.write_bytes(image.content)
    fs_host.run(program, "mount", path, 0, 0, trace)
    recovery = read_trace(trace)
    recovery.marks = [Mark(0, 1, True, 0)]  # no operation returns
    for again in power_cuts(recovery, image.content, limit, rng):
        yield Image(f"{image.what}; then {again.what}", again.content, image.allowed)
