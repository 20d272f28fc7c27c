"""Runs a mixed load on the kernel that watches its own accesses (`make RACES=1`) and tells which pairs raced.

Relies on the line that kernel/lib/races.c prints, and on tools/guest for places.
"""

from __future__ import annotations

import re

from tests.harness import tree
from tests.harness.guest import Guest
from tools.guest import open_guest

KERNEL = tree.BUILD / "races" / "kernel" / "kernel"
LINE = re.compile(
    r"race: ([a-z ]+) of (\d+) bytes at 0x[0-9a-f]+, pc 0x([0-9a-f]+), hart \d+,"
    r" and ([a-z ]+) of (\d+) bytes at 0x([0-9a-f]+), pc 0x([0-9a-f]+), hart \d+"
)


def is_planted(line: str) -> bool:
    """Whether it is the race that is there on purpose (kernel/lib/races.h)."""
    return line.startswith("planted_race:")


def found(guest: Guest) -> list[str]:
    """The pairs of accesses that raced so far, each once, with functions, lines and the variable."""
    kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
    try:
        lines = set()
        for match in LINE.finditer(guest.console):
            one, _, pc, other, _, address, other_pc = match.groups()
            ends = sorted(
                f"{k} in {kernel.place(int(p, 16) - 4)}" for k, p in ((one, pc), (other, other_pc))
            )
            lines.add(f"{kernel.name_of(int(address, 16)) or '0x' + address}: {', '.join(ends)}")
        return sorted(lines)
    finally:
        kernel.memory.close()
