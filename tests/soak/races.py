"""Data races: the kernel that watches its own accesses under one load after another, on four harts"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.harness import image, races, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 15
PROGRAMS = ("usertests", "stressfs", "grind", "forktest")
LOAD = ["usertests -q", "stressfs 8 2", "grind {seed} 10", "shmtrace -c grind {seed} 4"]
LOAD += ["crypto_cli & crypto_cli & matrix 100 {seed}", "server_load 8 20", "forktest"]


def run(minutes: float, seed: int) -> None:
    """Repeats the load with other seeds until the time is over."""
    done = tree.make("-j2", "RACES=1", "all")
    assert done.returncode == 0, done.stdout[-4000:]
    commands = 0
    with tempfile.TemporaryDirectory(prefix="xv6-races") as name:
        files = [tree.BUILD / "fs" / program for program in PROGRAMS]
        disk = image.make(Path(name), ["matrix", "server_load"], files=files)
        with Guest(disk, kernel=races.KERNEL, cpus=4, timeout=3600) as guest:
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                for command in LOAD:
                    guest.run(command.format(seed=seed + commands))
                    commands += 1
                    if time.monotonic() > end:
                        break
            found = races.found(guest)
    others = [line for line in found if not races.is_planted(line)]
    figure("commands", commands)
    figure("pairs of accesses that raced, the planted one aside", len(others))
    assert others != found, "it did not watch"
    assert not others, "\n".join(others)
