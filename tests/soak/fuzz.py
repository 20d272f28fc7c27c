"""Ten million system calls at random over twenty seeds, on one, three and eight harts, audited from outside."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness import fuzz, tree
from tests.harness.guest import Guest, GuestFailure
from tests.soak import figure

MINUTES = 120
SEEDS = 20
CALLS = 500_000  # of each seed
EACH = 25_000  # of a round
HARTS = (1, 3, 8, 1, 3)  # of the seeds in turn; every second has the debug kernel
GUESTS = 2  # at a time: one on few harts leaves much of a host idle


def one(number: int, end: float) -> tuple[int, int, int]:
    """A guest of its own for one seed; calls made, calls that gave a result, rounds."""
    made = good = rounds = 0
    if time.monotonic() > end:
        return 0, 0, 0
    log = tree.LOGS / f"soak-fuzz-{number}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.BUILD) as folder:
        disk = tree.copy_image(tree.IMAGE, Path(folder) / "fs.img")
        kernel = tree.DEBUG_KERNEL if number % 2 else tree.KERNEL
        with Guest(disk, kernel=kernel, cpus=HARTS[number % len(HARTS)], log=log) as guest:
            while made < CALLS and time.monotonic() < end:
                try:
                    more, result = fuzz.rounds(guest, number * 1000 + rounds, EACH, EACH)
                except GuestFailure:
                    print(f"  seed {number} fails in round {rounds}: see {log}", flush=True)
                    raise
                made, good, rounds = made + more, good + result, rounds + 1
            fuzz.check_disk(guest)
            assert "stuck:" not in guest.console, guest.tail()
    log.unlink()
    return made, good, rounds


def run(minutes: float, seed: int) -> None:
    """Twenty seeds, until the time is over; one that fails doesn't keep the others from running."""
    start = time.monotonic()
    tree.LOGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(GUESTS) as pool:
        numbers = range(seed * SEEDS, (seed + 1) * SEEDS)
        jobs = [pool.submit(one, number, start + 60 * minutes) for number in numbers]
    failures = [failure for job in jobs if (failure := job.exception())]
    done = [job.result() for job in jobs if not job.exception()]
    figure("seeds", sum(made > 0 for made, _, _ in done))
    figure("calls", sum(made for made, _, _ in done))
    figure("of these gave a result", sum(good for _, good, _ in done))
    figure("rounds audited", sum(rounds for _, _, rounds in done))
    figure("minutes", round((time.monotonic() - start) / 60))
    for failure in failures:
        raise failure
