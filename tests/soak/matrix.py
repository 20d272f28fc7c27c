"""Map, unmap, fork, exit, kill between relatives on eight harts, debug kernel: no report, no frame lost"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.harness import audit, image, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 20
TICKS = 300  # of one call: 30 s of the guest's time


def run(minutes: float, seed: int) -> None:
    """Calls the matrix with seed after seed in one guest, and audits it after each."""
    operations = workers = 0
    calls = max(1, round(minutes * 600 / TICKS))
    with tempfile.TemporaryDirectory(prefix="xv6-matrix") as name:
        disk = image.make(Path(name), ["matrix"])
        with Guest(disk, kernel=tree.DEBUG_KERNEL, cpus=8, timeout=1800) as guest:
            before = audit.baseline(guest)
            for i in range(calls):
                told = guest.run(f"matrix {TICKS} {seed + i}")
                found = re.search(r"^matrix: (\d+) operations, (\d+) workers: OK$", told, re.M)
                assert found, told
                operations += int(found[1])
                workers += int(found[2])
                audit.check(guest, before)
            assert "stuck:" not in guest.console, guest.tail()
    figure("operations", operations)
    figure("workers that lived", workers)
    figure("reports of lock order, of a stuck hart, of a lost frame", 0)
