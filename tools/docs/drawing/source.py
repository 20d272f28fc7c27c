"""Figures drawn from the source alone: who includes whom in the kernel, and the order of locks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tools.docs.drawing.svg import Drawing

# From the hardware's side up: a folder may rest on those above it in this list; house.py holds the outer rule.
FOLDERS = ("lib", "dev", "mm", "proc", "trace", "ipc", "fs", "boot")
DOES = {
    "lib": "strings, printf, panic",
    "dev": "uart, disk, interrupt controller",
    "mm": "frames, page tables, sharing",
    "proc": "processes, scheduling, locks, exec",
    "trace": "the rings",
    "ipc": "pipes, the queue, the server",
    "fs": "log, inodes, files",
    "boot": "start, traps, the clock",
}
INCLUDE = re.compile(r'^#include "kernel/(\w+)/', re.M)


def includes(root: Path) -> dict[str, Counter[str]]:
    """For each folder of the kernel: how many of its #include lines name which other folder."""
    found: dict[str, Counter[str]] = {}
    for folder in FOLDERS:
        count = found[folder] = Counter()
        for path in sorted((root / "kernel" / folder).glob("*.[chS]")):
            count.update(INCLUDE.findall(path.read_text()))
        del count[folder]
    return found


def layers(root: Path) -> Drawing:
    """The kernel's folders, and how many times the row's files include the column's headers."""
    found, cell, left, top = includes(root), 46, 330, 96
    side = cell * len(FOLDERS)
    drawing = Drawing(left + side + 24, top + side + 78, "Who includes whom in kernel/")
    drawing.text(24, 30, "Who includes whom in kernel/", "title")
    drawing.text(
        24, 50, "Rows use columns; the figure is a count of #include lines.", "small faint"
    )
    most = max(max(c.values(), default=1) for c in found.values())
    for i, row in enumerate(FOLDERS):
        y = top + i * cell
        drawing.text(24, y + 20, f"kernel/{row}", "mono title")
        drawing.text(24, y + 36, DOES[row], "small faint")
        drawing.text(left + i * cell + cell / 2, top - 10, row, "mono middle")
        for j, column in enumerate(FOLDERS):
            x, n = left + j * cell, found[row][column]
            drawing.rect(x + 1, y + 1, cell - 2, cell - 2, "panel")
            if i == j:
                drawing.rect(x + 15, y + 15, cell - 30, cell - 30, "grey", opacity=0.5)
            elif n:
                hue = "blue" if j < i else "amber"
                drawing.rect(x + 1, y + 1, cell - 2, cell - 2, hue, opacity=0.15 + 0.5 * n / most)
                drawing.text(x + cell / 2, y + cell / 2 + 5, str(n), "middle")
    y = top + side + 26
    drawing.rect(24, y - 11, 14, 14, "blue", opacity=0.5)
    drawing.text(46, y, "down: on a folder further to the hardware's side", "small")
    drawing.rect(24, y + 11, 14, 14, "amber", opacity=0.5)
    drawing.text(46, y + 22, "up: on a folder nearer to the programs", "small")
    return drawing


def locks(ranks: list[list[str]], seen: list[tuple[int, int]]) -> Drawing:
    """The classes of spinlock from outermost to innermost, an arc for each nesting a run has shown.

    ranks: rows of the kernel's table (constant, name, guards). seen: (outer, inner) ranks.
    """
    step, left, top = 30, 250, 74
    drawing = Drawing(760, top + step * len(ranks) + 16, "The order of locks")
    drawing.text(24, 30, "Spinlocks, outermost first", "title")
    drawing.text(
        24,
        50,
        "An arc: the lower was taken while the upper was held. No arc goes up.",
        "small faint",
    )
    at = [top + step * i + 10 for i in range(len(ranks))]
    for outer, inner in sorted(seen, key=lambda pair: pair[0] - pair[1]):
        reach = 24 + 21 * (inner - outer)
        hue = ("blue", "teal", "violet", "green")[outer % 4]
        drawing.path(
            f"M{left},{at[outer]} C{left + reach},{at[outer]} {left + reach},{at[inner]} "
            f"{left},{at[inner]}",
            f"{hue}-line",
            arrow=True,
        )
    for y, (_, name, _) in zip(at, ranks):
        drawing.add(f'<circle cx="{left - 6}" cy="{y}" r="4" class="grey"/>')
        drawing.text(left - 20, y + 4, name, "mono end")
    return drawing
