"""No two harts touch the same word, one of them writing, unless both say that they mean it (kernel/lib/races.c).

The long form is `make soak SOAK=races`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import races, tree
from tests.harness.guest import Boot

# Everything harts share: the log, pipes, sharing, the queue, lives, and readers of the rings.
LOAD = [
    "stressfs 4 1",
    "crypto_cli & crypto_cli & forktest",
    "usertests shm_storm shm_both_busy kill_race race_read_write",
    "usertests crypto_crowd pipe_crowd cow_many reparent_race",
    "shmtrace -c grind 1 2",
]


@pytest.fixture(scope="module")
def kernel(built: None) -> Path:
    """The kernel that watches its accesses."""
    done = tree.make("-j2", "RACES=1", "all")
    assert done.returncode == 0, done.stdout[-4000:]
    return races.KERNEL


def test_no_race_but_the_planted_one(boot: Boot, kernel: Path) -> None:
    """A mixed load on four harts; the one race that is planted shows at once that the kernel watches."""
    guest = boot(cpus=4, kernel=kernel)
    assert races.found(guest), "the harts have not met at the planted race"
    for command in LOAD:
        guest.run(command, timeout=900)
    assert [line for line in races.found(guest) if not races.is_planted(line)] == []
