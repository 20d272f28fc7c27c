"""The kernel's file system on the host: model, full disk, failing disk, crowd, damage.

tests/fs_host compiles kernel/fs as it is, under sanitizers, over a disk in memory that reorders
transfers. What a crash may leave is the matter of test_crash_states.py.
"""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from tests.harness.fs_host import BLOCK, REFUSED, build, findings, new_image, remount, run

pytestmark = pytest.mark.xdist_group("fs_host")  # one worker builds the harness for all


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """The harness under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build(tmp_path_factory.mktemp("fs_host"), "address,undefined")


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
