"""Mutants: one small patch to this tree for each mistake of the catalogue, and for some pairs of them.

A patch is named by the ids that `submit check` must then report, joined by `+`, and `-word` after them
for another form of the same; it begins with a line that says what
it breaks. The place of each finding must lie in a function that the patch changes. README.md has the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Optional

from tools.mutants import TREE, ids, names, path, plant

__all__ = ["Function", "breaks", "functions", "ids", "names", "path", "plant"]
HEAD = re.compile(
    r"^\w[^;=]*\([^;]*\{$"
)  # the first line of a function's body, as the tree is formatted


@dataclass(frozen=True)
class Function:
    """Where a function lies in the patched tree. first and last: its lines."""

    name: str
    file: str
    first: int
    last: int

    def holds(self, function: str, file: str, line: int) -> bool:
        """Is a finding's place in it? The compiler names no function, so an empty one will do."""
        return file == self.file and function in (self.name, "") and self.first <= line <= self.last


def breaks(name: str) -> str:
    """What it breaks, in one sentence."""
    return path(name).read_text(encoding="utf-8").splitlines()[0]


def functions(name: str, folder: Path) -> list[Function]:
    """The functions of a planted tree in which the patch changed a line, wherever it found its place."""
    found = []
    for file in re.findall(r"^\+\+\+ b/(.+)$", path(name).read_text(encoding="utf-8"), re.M):
        before, after = ((root / file).read_text("utf-8").splitlines() for root in (TREE, folder))
        for tag, _, _, start, end in SequenceMatcher(None, before, after, False).get_opcodes():
            for line in range(start + 1, max(start + 1, end) + 1) if tag != "equal" else ():
                around = _around(folder / file, file, line)
                if around and around not in found:
                    found.append(around)
    return found


def _around(source: Path, file: str, line: int) -> Optional[Function]:
    lines = source.read_text(encoding="utf-8").splitlines()
    head = next((n for n in range(min(line, len(lines)), 0, -1) if HEAD.match(lines[n - 1])), 0)
    if not head:
        return None
    last = next((n for n in range(head, len(lines) + 1) if lines[n - 1] == "}"), len(lines))
    name = re.findall(r"(\w+)\(", lines[head - 1])[0]
    return Function(name, file, head, last) if line <= last else None
