"""The kernel's file system on the host: model, full disk, failing disk, crowd, damage, crashes.

tests/fs_host compiles kernel/fs as it is, under sanitizers, over a disk in memory that reorders
transfers. XV6_CRASHES=N tries N crash images per seed instead of a sample (0: every one there is).
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import tree

pytestmark = pytest.mark.xdist_group("fs_host")  # one worker builds the harness for all
SOURCES = tree.ROOT / "tests" / "fs_host"
FLAGS = (
    "-std=gnu11 -g -O1 -Wall -Wextra -Werror -fno-sanitize-recover=all "
    "-fno-omit-frame-pointer -Dsleep=kernel_sleep "
    "-DMIN_BUFFERS=72"  # what eight processes hold and the log: the cache is always too small
)
BLOCK = 1024
SAMPLE = 150
REFUSED = 3  # the harness's status when the kernel refuses the disk


def build(folder: Path, sanitizers: str) -> Path:
    """Compiles kernel/fs and the harness with the given sanitizers; returns the program."""
    flags = [*FLAGS.split(), f"-fsanitize={sanitizers}", f"-I{SOURCES}/include", f"-I{tree.ROOT}"]
    program = folder / "fs_host"
    objects = []
    for source in [
        *sorted((tree.ROOT / "kernel" / "fs").glob("*.c")),
        *sorted(SOURCES.glob("*.c")),
    ]:
        target = folder / f"{source.parent.name}_{source.stem}.o"
        kernel = ["-ffreestanding"] if source.parent != SOURCES else []
        subprocess.run(["cc", *flags, *kernel, "-c", "-o", target, source], check=True)
        objects.append(target)
    subprocess.run(["cc", *flags, "-o", program, *objects, "-lpthread"], check=True)
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """The harness under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build(tmp_path_factory.mktemp("fs_host"), "address,undefined")


def run(program: Path, *arguments: str | int | Path, statuses: tuple[int, ...] = (0,)) -> str:
    """Runs the harness, which must end with one of the statuses. Returns what it printed."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # the model never frees a node
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode in statuses, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def new_image(path: Path, blocks: int) -> Path:
    """An empty file system."""
    subprocess.run([tree.MKFS, "-b", str(blocks), path], check=True)
    return path


def findings(image: Path) -> list[str]:
    """What fsck says of an image."""
    done = subprocess.run([tree.FSCK, image], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def remount(program: Path, image: Path) -> int:
    """Boots on an image, which must then be clean; returns the state's hash."""
    assert [line for line in findings(image) if "an orphan" not in line] == []
    state = int(run(program, "mount", image).splitlines()[-1], 16)
    assert findings(image) == []
    return state


@pytest.mark.parametrize("seed", range(3))
def test_model(program: Path, tmp_path: Path, seed: int) -> None:
    """Every result of 4,000 operations is the model's, and so is the tree after each 64."""
    image = new_image(tmp_path / "fs.img", 3000)
    run(program, "random", image, seed, 4000)
    remount(program, image)


@pytest.mark.parametrize("seed", range(3))
def test_full_disk(program: Path, tmp_path: Path, seed: int) -> None:
    """Out of blocks all the time: each failure leaves the tree as the caller was told."""
    image = new_image(tmp_path / "fs.img", 90)
    run(program, "tight", image, seed, 4000)
    remount(program, image)


@pytest.mark.parametrize("seed", range(3))
def test_unreadable_blocks(program: Path, tmp_path: Path, seed: int) -> None:
    """A block that can't be read is an error of the call that needs it, nothing more."""
    image = new_image(tmp_path / "fs.img", 3000)
    run(program, "badblock", image, seed, 4000)
    findings(image)


@pytest.mark.parametrize("seed", range(2))
def test_failing_writes(program: Path, tmp_path: Path, seed: int) -> None:
    """Wherever a write fails: from then on reads work, changes give -1, the disk has the last commit or this one.

    XV6_CRASHES=0 lets each write fail in turn.
    """
    image = new_image(tmp_path / "empty.img", 300)
    base = image.read_bytes()
    total = int(run(program, "badwrite", image, seed, 400, 0).split()[-1])
    wanted = int(os.environ.get("XV6_CRASHES", "60")) or total
    for n in sorted(random.Random(seed).sample(range(1, total + 1), min(wanted, total))):
        image.write_bytes(base)
        *_, message, states = run(program, "badwrite", image, seed, 400, n).splitlines()
        assert "nothing is written any more" in message, (n, message)
        assert remount(program, image) in {int(state, 16) for state in states.split()}, n


@pytest.mark.parametrize("seed", range(2))
def test_damaged_image(program: Path, tmp_path: Path, seed: int) -> None:
    """Metadata of any value: refused with a line, or errors for who meets the damage; no crash."""
    image = new_image(tmp_path / "fs.img", 400)
    run(program, "tight", image, seed, 500)
    good = image.read_bytes()
    rng = random.Random(seed)
    for round_ in range(40):
        data = bytearray(good)
        for _ in range(rng.choice([1, 3, 10, 40])):
            first, last = rng.choice([(1, 1), (2, 2), (33, 36), (33, 45), (46, 46), (47, 120)])
            at = rng.randrange(first * BLOCK, (last + 1) * BLOCK) & ~3
            values = [0, 1, 2, 46, 399, 400, 2**31, 2**32 - 1, rng.getrandbits(32)]
            struct.pack_into("<I", data, at, rng.choice(values))
        image.write_bytes(data)
        run(program, "badblock", image, round_, 300, statuses=(0, REFUSED))


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_crowd(tmp_path: Path, built: None, sanitizers: str) -> None:
    """Eight processes in one namespace: no race, no lock out of order, no damage."""
    crowd = build(tmp_path, sanitizers)
    image = new_image(tmp_path / "fs.img", 3000)
    for seed in range(2):
        run(crowd, "threads", image, seed, 500)
        assert findings(image) == []


@dataclass
class Recording:
    """What reached the disk, and what the tree should have looked like meanwhile.

    Attributes:
        writes: (block, content) in order.
        flushed: for each prefix of writes, by its length, how many of them survive a power cut.
        marks: (writes done, operation, synced, state) for each operation that returned.
    """

    writes: list[tuple[int, bytes]] = field(default_factory=list)
    flushed: list[int] = field(default_factory=lambda: [0])
    marks: list[tuple[int, int, bool, int]] = field(default_factory=list)

    def allowed(self, prefix: int, power_cut: bool) -> set[int]:
        """States that may be found after a crash behind so many writes."""
        returned = [i for i, mark in enumerate(self.marks) if mark[0] <= prefix]
        latest = first = returned[-1]
        if power_cut:
            first = max(i for i in returned if self.marks[i][2])
        # the operation under way may have committed
        return {mark[3] for mark in self.marks[first : latest + 2]}


def read_trace(path: Path) -> Recording:
    """Parses the trace file of tests/fs_host/disk.c."""
    data = path.read_bytes()
    recording = Recording()
    at = flushed = 0
    while at < len(data):
        kind, value = struct.unpack_from("<II", data, at)
        at += 8
        if kind == 1:
            recording.writes.append((value, data[at : at + BLOCK]))
            recording.flushed.append(flushed)
            at += BLOCK
        elif kind == 2:
            flushed = len(recording.writes)
            recording.flushed[-1] = flushed
        else:
            synced, state = struct.unpack_from("<IQ", data, at)
            recording.marks.append((len(recording.writes), value, bool(synced), state))
            at += 12
    return recording


def crash_images(
    recording: Recording, base: bytes, rng: random.Random
) -> Iterator[tuple[str, bytes, set[int]]]:
    """Every prefix of the writes; and for a power cut, random subsets of those not yet flushed."""
    image = bytearray(base)
    snapshots = [bytes(base)]
    for block, content in recording.writes:
        image[block * BLOCK : (block + 1) * BLOCK] = content
        snapshots.append(bytes(image))
    for prefix, snapshot in enumerate(snapshots):
        yield f"killed after {prefix} writes", snapshot, recording.allowed(prefix, False)
        safe = recording.flushed[prefix]
        loose = list(range(safe, prefix))
        if loose:
            cut = bytearray(snapshots[safe])
            kept = [i for i in loose if rng.random() < 0.5]
            for i in kept:
                block, content = recording.writes[i]
                cut[block * BLOCK : (block + 1) * BLOCK] = content
            what = f"power cut after {prefix} writes, {safe} flushed, {kept} of the rest"
            yield what, bytes(cut), recording.allowed(prefix, True)


@pytest.mark.parametrize("seed", range(3))
def test_every_crash(program: Path, tmp_path: Path, seed: int) -> None:
    """Whatever was written: the image is consistent, and what sync promised is there."""
    image = new_image(tmp_path / "fs.img", 400)
    base = image.read_bytes()
    run(program, "random", image, seed, 600, tmp_path / "trace")
    recording = read_trace(tmp_path / "trace")
    images = list(crash_images(recording, base, random.Random(seed)))
    wanted = int(os.environ.get("XV6_CRASHES", SAMPLE)) or len(images)
    if wanted < len(images):
        images = random.Random(seed).sample(images, wanted)
    crashed = tmp_path / "crashed.img"
    for what, content, allowed in images:
        crashed.write_bytes(content)
        assert remount(program, crashed) in allowed, what
