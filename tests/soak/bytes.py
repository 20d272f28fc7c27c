"""Readers of the python tools on damaged ELF files, memory, cores, snapshots, traces, hand-ins: thousands of each"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.harness import hostile, hostile_submit
from tests.soak import figure

MINUTES = 15
READERS = hostile.READERS + hostile_submit.READERS
BATCH = 25  # seeds of a reader between two looks at the clock


def run(minutes: float, seed: int) -> None:
    """Gives each reader its share of the time."""
    share = 60 * minutes / len(READERS)
    with tempfile.TemporaryDirectory(prefix="xv6-bytes") as name:
        os.environ["XDG_CACHE_HOME"] = name  # not the user's own
        for reader in READERS:
            end, tried = time.monotonic() + share, 0
            while time.monotonic() < end:
                first = 1_000_000 * seed + tried
                tried += hostile.try_seeds(reader, Path(name), range(first, first + BATCH))
            figure(reader.__name__, f"{tried} inputs, each answered or refused in one line")
