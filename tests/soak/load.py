"""Mixed load on eight harts with every event traced: no frame lost, and no slower at the end than at the start

A round is the same work each time, usertests, stressfs, grind and crypto clients from the same seeds, then a storm of
maps beside crypto clients. The price of the work is the processor time QEMU used for it, which other programs on the
host hardly change.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.harness import audit, image, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 60
NOISE = 1.15  # a tenth of the rounds may cost so much more than another though nothing got slower
WORK = {  # the same each time: its price counts; and how each says that all was well
    "usertests -q": r"^ALL TESTS PASSED$",
    "stressfs 8 2": r"^stressfs: OK$",
    "grind 1 5": r"^grind: OK$",
    "server_load 8 40": r"^all checks hold$",
}
STORM = {  # as much as fits into a time
    "(crypto_cli; crypto_cli) & shmem_test1 & shmem_test2 & matrix 20 3": r"^matrix: .* OK$",
}


def seconds(guest: Guest) -> float:
    """Processor time QEMU has used (proc(5): utime and stime of stat)."""
    fields = Path(f"/proc/{guest.info['qemu']}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_round(guest: Guest) -> float:
    """Does everything once; what the work cost."""

    def do(commands: dict[str, str]) -> None:
        for command, good in commands.items():
            told = guest.run(command)
            assert re.search(good, told, re.M), told[-2000:]

    start = seconds(guest)
    do(WORK)
    price = seconds(guest) - start
    do(STORM)
    return price


def run(minutes: float, seed: int) -> None:
    """Rounds until the time is over; then frames and prices are compared."""
    del seed
    with tempfile.TemporaryDirectory(prefix="xv6-load") as name:
        files = [tree.BUILD / "fs" / program for program in ("usertests", "stressfs", "grind")]
        disk = image.make(Path(name), ["matrix", "server_load"], files=files)
        extra = ("-append", "trace=all")
        with Guest(disk, cpus=8, extra=extra, timeout=3600) as guest:
            before = audit.baseline(guest)
            end = time.monotonic() + 60 * minutes
            one_round(guest)  # fills the caches of both machines
            prices: list[float] = []
            while time.monotonic() < end or len(prices) < 2:
                prices.append(one_round(guest))
                audit.check(guest, before)
            after = audit.free_frames(guest)
    tenth = max(1, len(prices) // 10)
    first, last = median(prices[:tenth]), median(prices[-tenth:])
    figure("rounds", len(prices))
    figure("free frames at the start and at the end", f"{before}, {after}")
    figure("processor seconds a round, first and last tenth", f"{first:.1f}, {last:.1f}")
    assert after >= before, "frames were lost"
    assert last <= first * NOISE, "it got slower"
