"""Runs spin on a model: every reachable state within the bounds the model and the given macros set.

Relies on Debian's spin and on the host's C compiler, which compiles the checker that spin writes.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.harness import tree

DEPTH = 1_000_000  # steps; a search that gets there has not seen everything


@dataclass
class Verdict:
    """What a search found.

    Attributes:
        error: what is wrong, in spin's words, with the step; empty if nothing is.
        states: how many there are, or were seen before the error.
    """

    error: str
    states: int


def macros(model: Path) -> list[str]:
    """The key lines of a model: what its opening comment says may be removed, one at a time."""
    opening = model.read_text().split("*/", 1)[0]
    return re.findall(r"^ {5}([A-Z_]+)  +\S", opening, re.M)


def check(model: Path, folder: Path, *defines: str, timeout: float = 600) -> Verdict:
    """Searches a model with macros defined (NAME or NAME=VALUE), in a folder for what it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-D{define}" for define in defines]

    def step(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    step("spin", "-a", *flags, model)
    step("cc", "-w", "-O1", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
    told = step("./pan", f"-m{DEPTH}", "-w22")
    errors = re.search(r"errors: (\d+)", told)
    states = re.search(r"(\d+) states, stored", told)
    assert errors and states, told
    assert "max search depth too small" not in told, "the search was cut off"
    assert "Search not completed" not in told or errors[1] != "0", told
    error = re.search(r"^pan:1: (.*)$", told, re.M)
    return Verdict(error[1] if error else "", int(states[1]))


MODELS = [
    tree.ROOT / "kernel" / "trace" / "ring.pml",
    tree.ROOT / "kernel" / "ipc" / "queue.pml",
    tree.ROOT / "kernel" / "proc" / "sleep.pml",
]

# Bounds for every run of the tests; what a model itself says is for the soak.
SHORT = {"queue.pml": ("CLIENTS=2", "DEATHS=2")}
