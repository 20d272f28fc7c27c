"""Every crash of the file system's disk, for workload after workload

Each seed is a workload of 400 operations; all its images are tried before the next begins.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from tests.harness import crash, fs_host
from tests.soak import figure

MINUTES = 20
OPERATIONS = 400
COMBINATIONS = 256  # between two flushes: all if there are no more
TWICE = 50  # one image in so many is booted with a second crash


def run(minutes: float, seed: int) -> None:
    """Tries images until the time is over, but those of one workload to the end."""
    end = time.monotonic() + 60 * minutes
    killed = cut = twice = workloads = 0
    with tempfile.TemporaryDirectory(prefix="xv6-crash") as name:
        folder = Path(name)
        (folder / "fast").mkdir()
        (folder / "watched").mkdir()
        fast = fs_host.build(folder / "fast")
        watched = fs_host.build(folder / "watched", "address,undefined")
        while time.monotonic() < end:
            rng = random.Random(seed)
            recording, base = crash.record(watched, folder, seed, OPERATIONS)
            for image in crash.prefixes(recording, base):
                crash.check(fast, folder, image)
                killed += 1
            for image in crash.power_cuts(recording, base, COMBINATIONS, rng):
                crash.check(fast, folder, image)
                cut += 1
                if rng.randrange(TWICE) == 0:
                    for again in crash.second_crashes(fast, folder, image, 16, rng):
                        crash.check(fast, folder, again)
                        twice += 1
            workloads += 1
            seed += 1
    figure("workloads", workloads)
    figure("images after a kill", killed)
    figure("images after a power cut", cut)
    figure("images after a crash of the recovery", twice)
