"""Whatever a crash leaves on the disk: the image is consistent, and all that sync and fsync promised is there.

The short form of `make soak SOAK=crash`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.harness import crash, fs_host

pytestmark = pytest.mark.xdist_group("fs_host")
IMAGES = 250  # a seed; the soak takes all of them
COMBINATIONS = 64  # between two flushes


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """The harness without sanitizers, for the many boots; the run itself has them."""
    return fs_host.build(tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """The harness with them."""
    return fs_host.build(tmp_path_factory.mktemp("watched"), "address,undefined")


@pytest.mark.parametrize("seed", range(3))
def test_every_crash(program: Path, watched: Path, tmp_path: Path, seed: int) -> None:
    """Killed after a write, or a power cut that keeps any of what was not flushed."""
    rng = random.Random(seed)
    recording, base = crash.record(watched, tmp_path, seed, 400)
    images = [
        *crash.prefixes(recording, base),
        *crash.power_cuts(recording, base, COMBINATIONS, rng),
    ]
    assert len(images) > 1000
    for image in rng.sample(images, IMAGES):
        crash.check(program, tmp_path, image)


def test_crash_while_it_recovers(program: Path, watched: Path, tmp_path: Path) -> None:
    """The boot after a crash may crash too, anywhere: the next one still finds what was promised."""
    rng = random.Random(7)
    recording, base = crash.record(watched, tmp_path, 7, 200)
    images = list(crash.power_cuts(recording, base, COMBINATIONS, rng))
    checked = 0
    for image in rng.sample(images, 40):
        for again in crash.second_crashes(program, tmp_path, image, 8, rng):
            crash.check(program, tmp_path, again)
            checked += 1
    assert checked > 100


def test_choices_are_all_or_as_many_as_wanted() -> None:
    """Two sectors with one and two versions have six combinations."""
    there: crash.Versions = {5: [(1, b"a")], 9: [(2, b"b"), (3, b"c")]}
    rng = random.Random(0)
    every = list(crash.choices(there, 6, rng))
    assert sorted(every) == [[a, b] for a in (0, 1) for b in (0, 1, 2)]
    assert len(list(crash.choices(there, 5, rng))) == 5


def test_a_disk_that_ignores_flushes_is_caught(
    program: Path, watched: Path, tmp_path: Path
) -> None:
    """The same run, as if nothing had been flushed: what was promised is missing, and that shows."""
    rng = random.Random(3)
    recording, base = crash.record(watched, tmp_path, 3, 100)
    recording.flushes = [0]
    for mark in recording.marks:
        mark.flushes = 1
    with pytest.raises(AssertionError):
        for image in crash.power_cuts(recording, base, 200, rng):
            crash.check(program, tmp_path, image)
