"""The kernel's stack holds the deepest chain of calls there is, with an interrupt on top (tools/lint/stack)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree

STACK = tree.ROOT / "tools" / "lint" / "stack"


@pytest.mark.parametrize("kernel", [tree.KERNEL, tree.DEBUG_KERNEL], ids=["plain", "debug"])
def test_worst_chains_fit(built: None, kernel: Path) -> None:
    """Each entry's chain is added up, and no call through a pointer or recursion is unaccounted for."""
    objects = tree.BUILD / ("kernel" if kernel == tree.KERNEL else "debug/kernel")
    done = subprocess.run([STACK, kernel, objects], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    sizes = re.findall(r": (\d+) of (\d+) bytes: (?:usertrap|forkret|hart_main) ", done.stdout)
    assert len(sizes) == 3 and all(1000 < int(size) <= int(room) for size, room in sizes)


def test_usage() -> None:
    """One line, status 2."""
    done = subprocess.run([STACK, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
