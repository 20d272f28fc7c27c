"""What happened to each thing of many, in columns: for rules about frames, page tables and processes, of which a
long trace has too many to look at one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class History:
    """Records about many things: those about the same one stand together, oldest first. Columns of one length."""

    key: np.ndarray  # which thing
    index: np.ndarray  # of the record
    event: np.ndarray  # its id

    @staticmethod
    def of(key: np.ndarray, index: np.ndarray, event: np.ndarray) -> "History":
        """From columns in any order."""
        order = np.lexsort((index, key))
        return History(key[order], index[order], event[order])

    @property
    def follows(self) -> np.ndarray:
        """Which rows have one about the same thing before them."""
        same = np.zeros(len(self.key), bool)
        same[1:] = self.key[1:] == self.key[:-1]
        return same

    def _place(self, key: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each key whether it is here, and how many rows stand before (key, index] ends."""
        first = np.flatnonzero(~self.follows)
        group = np.searchsorted(self.key[first], key)
        known = group < len(first)
        known[known] = self.key[first][group[known]] == key[known]
        top = int(max(self.index.max(initial=0), index.max(initial=0))) + 1
        mine = (np.cumsum(~self.follows) - 1) * top + self.index
        return known, np.searchsorted(mine, group * top + index, "right")

    def next_of(self, key: np.ndarray, index: np.ndarray) -> np.ndarray:
        """For each (key, index) the next record about that thing after it, -1 if there is none."""
        known, place = self._place(key, index)
        known &= place < len(self.key)
        known[known] = self.key[place[known]] == key[known]
        out = np.full(len(key), -1)
        out[known] = self.index[place[known]]
        return out

    def last_of(self, key: np.ndarray, index: np.ndarray) -> np.ndarray:
        """For each (key, index) which row here is the last about that thing up to it, -1 if there is none."""
        known, place = self._place(key, index)
        known &= place > 0
        known[known] = self.key[place[known] - 1] == key[known]
        return np.where(known, place - 1, -1)


@dataclass(frozen=True)
class Leaves:
    """Every mapping of a page there was: the record that made it and the one after which it was no more."""

    root: np.ndarray
    va: np.ndarray
    frame: np.ndarray
    start: np.ndarray  # index of pte_set
    end: np.ndarray  # index of the page's next pte_set or pte_clear; the number of records if there is none

    @staticmethod
    def of(
        root: np.ndarray,
        va: np.ndarray,
        frame: np.ndarray,
        index: np.ndarray,
        made: np.ndarray,
        count: int,
    ) -> "Leaves":
        """From the columns of all changes, oldest first; `made` tells which of them map; of `count` records."""
        order = np.lexsort((va, root))
        root, va, frame, index, made = (c[order] for c in (root, va, frame, index, made))
        end = np.full(len(root), count)
        same = np.flatnonzero((root[1:] == root[:-1]) & (va[1:] == va[:-1]))
        end[same] = index[same + 1]
        return Leaves(root[made], va[made], frame[made], index[made], end[made])
