"""The Promela models at the bounds of the tests and at larger ones, each to its end

The minutes are a limit for one model, not a duration.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.harness import spin
from tests.soak import figure

MINUTES = 30
BOUNDS = [
    ("ring.pml", ()),
    ("queue.pml", spin.SHORT["queue.pml"]),
    ("sleep.pml", ()),
    ("ring.pml", ("TOTAL=5",)),
    ("queue.pml", ("DEATHS=1",)),
    ("queue.pml", ("DEATHS=2",)),
]


def run(minutes: float, seed: int) -> None:
    """Searches each model; the seed has nothing to choose here."""
    del seed
    for name, defines in BOUNDS:
        model = next(m for m in spin.MODELS if m.name == name)
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            verdict = spin.check(model, Path(folder), *defines, timeout=60 * minutes)
        what = " ".join((name, *defines))
        assert verdict.error == "", f"{what}: {verdict.error}"
        figure(what, f"{verdict.states} states in {time.monotonic() - start:.0f} s, no error")
