"""Ten million system calls at random over twenty seeds, on one, three and eight harts, audited from outside."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.harness import fuzz, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 120
SEEDS = 20
CALLS = 500_000  # of each seed
EACH = 50_000  # of a round


def run(minutes: float, seed: int) -> None:
    """Twenty guests one after the other, until the time is over."""
    end = time.monotonic() + 60 * minutes
    made = good = seeds = 0
    with tempfile.TemporaryDirectory(dir=tree.BUILD) as folder:
        for i in range(SEEDS):
            disk = tree.copy_image(tree.IMAGE, Path(folder) / f"fs{i}.img")
            kernel = tree.DEBUG_KERNEL if i % 2 else tree.KERNEL
            with Guest(
                disk, kernel=kernel, cpus=(3, 8, 1)[i % 3], log=tree.LOGS / "soak-fuzz.log"
            ) as guest:
                mine = 0
                while mine < CALLS and time.monotonic() < end:
                    number = (seed * SEEDS + i) * 1000 + mine // EACH
                    more, result = fuzz.rounds(guest, number, EACH, EACH)
                    mine, made, good = mine + more, made + more, good + result
                fuzz.check_disk(guest)
            seeds += 1
            if time.monotonic() > end:
                break
    figure("seeds", seeds)
    figure("calls", made)
    figure("of these gave a result", good)
