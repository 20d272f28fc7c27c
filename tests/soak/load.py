"""Mixed load on eight harts with every event traced: no frame lost, and no slower at the end than at the start

A round is the same work each time, usertests, stressfs, grind and crypto clients from the same seeds, then a storm of
maps beside crypto clients, in the debug kernel, whose checks of locks and frames are on. The price of the work is the
processor time QEMU used for it, in units of what a fixed piece of arithmetic in the guest cost just before and after:
whatever else the host does changes both.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from tests.harness import audit, image, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 60
UNIT = {"toil 60": r"^toil: OK$"}
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


def cost(guest: Guest, commands: dict[str, str]) -> float:
    """Runs commands, each of which must say that all was well; the processor seconds they took."""
    start = seconds(guest)
    for command, good in commands.items():
        told = guest.run(command)
        assert re.search(good, told, re.M), told[-2000:]
    return seconds(guest) - start


def one_round(guest: Guest) -> tuple[float, float]:
    """Does everything once; processor seconds of the work, and of two units."""
    before = cost(guest, UNIT)
    work = cost(guest, WORK)
    units = before + cost(guest, UNIT)
    cost(guest, STORM)
    return work, units


def compare(prices: Sequence[float], part: int = 10) -> tuple[float, float]:
    """How much dearer the last tenth (or other part) is than the first, and how much of that may be noise, both as
    parts of the first.

    Noise is three standard errors of the difference of two means. The deviation it needs is taken from the differences
    of neighbours, to which a slow rise adds next to nothing (von Neumann's mean square successive difference).
    """
    rounds = max(1, len(prices) // part)
    first, last = mean(prices[:rounds]), mean(prices[-rounds:])
    deviation = (mean((b - a) ** 2 for a, b in zip(prices, prices[1:])) / 2) ** 0.5
    return last / first - 1, 3 * deviation * (2 / rounds) ** 0.5 / first


def run(minutes: float, seed: int) -> None:
    """Rounds until the time is over; then frames and prices are compared."""
    del seed
    with tempfile.TemporaryDirectory(prefix="xv6-load") as name:
        files = [tree.BUILD / "fs" / program for program in ("usertests", "stressfs", "grind")]
        disk = image.make(Path(name), ["matrix", "server_load", "toil"], files=files)
        extra = ("-append", "trace=all")
        with Guest(disk, kernel=tree.DEBUG_KERNEL, cpus=8, extra=extra, timeout=3600) as guest:
            before = audit.baseline(guest)
            end = time.monotonic() + 60 * minutes
            one_round(guest)  # fills the caches of both machines
            rounds: list[tuple[float, float]] = []
            while time.monotonic() < end or len(rounds) < 2:
                rounds.append(one_round(guest))
                audit.check(guest, before)
                print(
                    f"  round {len(rounds)}: {rounds[-1][0]:.2f} s, units {rounds[-1][1]:.2f} s",
                    flush=True,
                )
                assert "stuck:" not in guest.console, guest.tail()
            after = audit.free_frames(guest)
    work = [work for work, _ in rounds]
    figure("rounds", len(rounds))
    figure("free frames at the start and at the end", f"{before}, {after}")
    figure("processor seconds of a round's work", f"{mean(work):.1f}")
    slower = []
    for what, part in (("tenth", 10), ("half", 2)):
        dearer, noise = compare([work / units for work, units in rounds], part)
        figure(f"price in units, last {what}", f"{dearer:+.1%} of the first, noise {noise:.1%}")
        slower += [what] if dearer > noise else []
    assert after == before, "frames were lost, or found"
    assert not slower, f"it got slower: by {slower}"
