"""Sv39 page tables in a guest's physical memory (RISC-V privileged specification, section 4.4).

A table page is read whole, once, and decoded here. Broken tables are what one looks at most:
whatever an entry holds, it comes out as a leaf or as a problem with a label. Nothing is dropped and
nothing is invented; only of last-level entries that are bad by the ten thousands, as a mapping that
runs past the end of memory makes them, no more than PROBLEMS are told one by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import reduce
from itertools import compress
from operator import and_
from typing import Iterator, NamedTuple, Optional, Sequence

from tools.guest.memory import PAGE, Memory

V, R, W, X, U, G, A, D, S, C = (1 << i for i in range(10))  # S and C: software bits 8 and 9
LEAF = R | W | X
RESERVED = 0x3FF << 54  # must be zero without Svnapot and Svpbmt
SIZES = (PAGE, PAGE << 9, PAGE << 18)  # bytes mapped by a leaf of each level
MAXVA = 1 << 38  # one past the lower half
PROBLEMS = 20_000
ALIKE = ~(A | D)  # ranges are merged whatever the hardware has noted about use


def address_of(entry: int) -> int:
    """The physical address an entry points to."""
    return (entry >> 10 & 0xFFF_FFFF_FFFF) << 12


def canonical(va: int) -> int:
    """The 64-bit form of a 39-bit virtual address: bit 38 repeated upwards."""
    return va | 0xFFFF_FF80_0000_0000 if va >> 38 & 1 else va


def flag_text(flags: int, some: Optional[int] = None) -> str:
    """`rwxu gad sc`-like text in a fixed width; a bit only some pages of a range have is in lower
    case.
    """
    some = flags if some is None else some
    text = "".join(
        (c if flags & bit else c.lower() if some & bit else "-")
        for c, bit in zip("RWXUGADSC", (R, W, X, U, G, A, D, S, C))
    )
    return f"{text[:4]} {text[4:7]} {text[7:]}"


class Leaf(NamedTuple):
    """One translation: `size` bytes at `va` go to `pa`."""

    va: int
    pa: int
    entry: int
    level: int

    @property
    def size(self) -> int:
        return SIZES[self.level]


@dataclass
class Problem:
    """An entry that is neither empty nor a sound pointer or leaf."""

    va: int
    level: int
    table: int  # physical address of the table page
    index: int
    entry: int
    kind: str  # a short constant word for programs; "marked" is no fault: hardware ignores it
    text: str  # for people

    @property
    def size(self) -> int:
        return SIZES[self.level]


@dataclass
class Range:
    """Adjacent leaves with equal permissions. `pa` is the first; `pieces` counts physically
    separate parts.
    """

    va: int
    pa: int
    size: int
    flags: int  # bits all of them have
    some: int  # bits any of them has
    level: int
    pieces: int = 1

    @property
    def end(self) -> int:
        return self.va + self.size


SLOTS = range(512)


class TablePage(NamedTuple):
    """A page of a table, decoded. Most entries are empty: `used` has the indices of the others."""

    level: int
    va: int
    pa: int
    entries: Sequence[int]  # 512 of them, fewer at a root of which one half was asked for
    used: list[int]


@dataclass
class Table:
    """One whole page table, read and decoded."""

    root: int
    pages: dict[int, TablePage] = field(default_factory=dict)  # by physical address
    problems: list[Problem] = field(default_factory=list)

    def leaves(self) -> Iterator[Leaf]:
        """Every leaf in order of virtual address, those with a problem included."""
        for va, level, entries, used in self._in_order():
            size = SIZES[level]
            for i in used:
                entry = entries[i]
                if entry & V and entry & LEAF:
                    yield Leaf(va + i * size, address_of(entry), entry, level)

    def _in_order(self) -> Iterator[tuple[int, int, Sequence[int], Sequence[int]]]:
        """Stretches of entries by address: whole last-level pages, and single leaves of upper
        levels. Each is first address, level, entries, and the indices of those not empty.
        """
        if self.root in self.pages:
            yield from self._below(self.pages[self.root])

    def _below(self, page: TablePage) -> Iterator[tuple[int, int, Sequence[int], Sequence[int]]]:
        if page.level == 0:
            yield canonical(page.va), 0, page.entries, page.used
            return
        for i in page.used:
            entry = page.entries[i]
            if not entry & V:
                continue
            if entry & LEAF:
                yield canonical(page.va + i * SIZES[page.level]), page.level, (entry,), (0,)
                continue
            below = self.below(page, i)
            if below is not None:
                yield from self._below(below)

    def below(self, page: TablePage, i: int) -> Optional[TablePage]:
        """The table page that entry `i` of an upper page points to; None if it was not followed
        there, because it is a leaf or damaged.
        """
        found = self.pages.get(address_of(page.entries[i]))
        if found is None or page.entries[i] & (V | LEAF) != V:
            return None
        first = page.va + i * SIZES[page.level]
        return found if (found.va, found.level) == (first, page.level - 1) else None

    def ranges(self, contiguous: bool = False) -> list[Range]:
        """Leaves merged while virtual addresses and permissions go on; physical ones too if
        `contiguous`.
        """
        merged: list[Range] = []
        now = Range(0, 0, 0, 0, 0, -1)
        end = -1  # of the range so far
        ahead = 0  # what the next entry is if the physical addresses go on too, A and D apart
        for base, level, entries, used in self._in_order():
            size, step = SIZES[level], SIZES[level] >> 2
            for i in used:
                entry = entries[i]
                if not entry & V or not entry & LEAF:
                    continue
                plain = entry & ALIKE
                va = base + i * size
                if va == end and level == now.level:
                    if plain == ahead or (not contiguous and not (plain ^ ahead) & 0x3FF):
                        now.pieces += plain != ahead
                        now.flags &= entry
                        now.some |= entry
                        end = va + size
                        ahead = plain + step
                        continue
                now.size = end - now.va
                now = Range(va, address_of(entry), 0, entry & 0x3FF, entry & 0x3FF, level)
                merged.append(now)
                end = va + size
                ahead = plain + step
        now.size = end - now.va
        for r in merged:
            r.some &= 0x3FF
        return merged


def read_table(memory: Memory, root: int, half: Optional[str] = None) -> Table:
    """Reads the table under the page at physical address `root`, one read_pages() for each level.

    half: "user" for root entries 0 to 255, "kernel" for 256 to 511, None for all.
    """
    table = Table(root)
    if root % PAGE or not memory.contains(root, PAGE):
        table.problems.append(
            Problem(
                0, 2, root, 0, 0, "outside", f"root {root:#x} is not a page of the guest's memory"
            )
        )
        return table
    limit = max(end for _, end in memory.extents()) >> 12
    waiting = {root: 0}  # physical address of a table page -> first virtual address it maps
    for level in (2, 1, 0):
        part = PAGE // 2 if level == 2 and half == "user" else PAGE
        for (pa, va), raw in zip(waiting.items(), memory.read_pages(list(waiting), part)):
            entries: tuple[int, ...] = struct.unpack(f"<{part // 8}Q", raw)
            if level == 2 and half == "kernel":
                entries = (0,) * 256 + entries[256:]
            table.pages[pa] = TablePage(level, va, pa, entries, list(compress(SLOTS, entries)))
        waiting = _next_level(memory, table, list(waiting), level, limit)
    table.problems.sort(key=lambda p: (p.va, -p.level))
    return table


def _next_level(
    memory: Memory, table: Table, pages: list[int], level: int, limit: int
) -> dict[int, int]:
    """Looks through table pages of one level; the pages below them. `limit`: first frame number
    past RAM.
    """
    found: dict[int, int] = {}
    size = SIZES[level]
    for n, pa in enumerate(pages):
        page = table.pages[pa]
        if not level and len(table.problems) >= PROBLEMS:
            text = f"too much is wrong: the last {len(pages) - n} table pages are not examined"
            table.problems.append(Problem(canonical(page.va), 0, pa, 0, 0, "more", text))
            break
        entries = page.entries
        if not level and max(entries) >> 10 < limit:
            used = [entries[i] for i in page.used]
            if reduce(and_, used, V | R) == V | R:
                continue  # most pages: nothing but readable last-level leaves below the end of RAM
        for i in page.used:
            entry = entries[i]
            if not level and entry & 3 == V | R and entry >> 10 < limit:
                continue
            va = page.va + i * size
            below = _examine(memory, table, page, i, limit)
            if below is None:
                continue
            if below in found:
                _again(table, page, i, canonical(found[below]))
            else:
                found[below] = va
    return found


def _examine(memory: Memory, table: Table, page: TablePage, i: int, limit: int) -> Optional[int]:
    """Files what is wrong with one entry; the physical address of the table page below it if there
    is one.
    """
    entry, level = page.entries[i], page.level
    to = address_of(entry)

    def bad(kind: str, text: str) -> None:
        va = canonical(page.va + i * SIZES[level])
        table.problems.append(Problem(va, level, page.pa, i, entry, kind, text))

    if not entry & V and not entry >> 10:
        bad("marked", f"not mapped; the kernel keeps bits {entry:#x} there")
        return None
    if not entry & V:
        bad("not-valid", f"not mapped (no V), but the entry still points to {to:#x}")
        return None
    if entry & RESERVED:
        bad("reserved-bits", f"reserved bits 63..54 are set ({entry >> 54:#x})")
    if entry & LEAF:
        if entry & W and not entry & R:
            bad("w-without-r", "W without R is reserved: every access faults")
        if to & SIZES[level] - 1:
            bad("misaligned", f"a level {level} leaf must point to a multiple of {SIZES[level]:#x}")
        if to >> 12 >= limit and level == 0:
            bad("outside", f"maps {to:#x}, past the end of memory")
    elif level == 0:
        bad("pointer-at-0", "no R, W or X at the last level: a pointer where a leaf must be")
    elif not memory.contains(to, PAGE):
        bad("outside", f"points to a table at {to:#x}, which is not in memory")
    elif to in (table.root, page.pa):
        bad("loop", f"points back to the table page {to:#x} above it: a loop")
    elif to in table.pages:
        _again(table, page, i, canonical(table.pages[to].va))
    else:
        return to
    return None


def _again(table: Table, page: TablePage, i: int, first: int) -> None:
    entry = page.entries[i]
    va = canonical(page.va + i * SIZES[page.level])
    text = f"same table page {address_of(entry):#x} as at {first:#x}"
    table.problems.append(Problem(va, page.level, page.pa, i, entry, "same-table", text))


class Step(NamedTuple):
    """One level of a walk: the entry read, and where it lies."""

    level: int
    slot: int  # index of the entry in its table page
    address: int  # physical, of the entry
    entry: int


@dataclass
class Walk:
    """The translation of one address: `pa` and `leaf` if there is one, else why not."""

    va: int
    steps: list[Step]
    leaf: Optional[Leaf] = None
    reason: str = ""  # empty if there is a leaf

    @property
    def pa(self) -> Optional[int]:
        return None if self.leaf is None else self.leaf.pa + (self.va & self.leaf.size - 1)

    def fault(self, access: str, user: bool, sum_bit: bool = False) -> str:
        """Why an access ("R", "W" or "X") faults; empty if it does not. `sum_bit`: sstatus.SUM is
        set.
        """
        if self.leaf is None:
            return self.reason
        entry, level = self.leaf.entry, self.leaf.level
        if user and not entry & U:
            return f"level {level} entry has no U: the page is the kernel's"
        if not user and entry & U and (access == "X" or not sum_bit):
            what = (
                "never runs user pages"
                if access == "X"
                else "may touch user pages only with sstatus.SUM set"
            )
            return f"level {level} entry has U: supervisor mode {what}"
        if not entry & {"R": R, "W": W, "X": X}[access]:
            copy = " (C: copied on the first write)" if access == "W" and entry & C else ""
            return f"level {level} entry has no {access}{copy}"
        return ""


def walk(memory: Memory, root: int, va: int) -> Walk:
    """Translates `va` as the hardware would (specification 4.3.2), stopping at what it would fault
    on.
    """
    done = Walk(va, [])
    if canonical(va & (1 << 39) - 1) != va:
        done.reason = "not canonical: bits 63..39 must repeat bit 38"
        return done
    table = root
    for level in (2, 1, 0):
        index = va >> 12 + 9 * level & 0x1FF
        if not memory.contains(table, PAGE):
            done.reason = f"level {level} table at {table:#x} is not in memory"
            return done
        (page,) = memory.read_pages([table])
        (entry,) = struct.unpack_from("<Q", page, index * 8)
        done.steps.append(Step(level, index, table + index * 8, entry))
        if not entry & V:
            done.reason = f"level {level} entry is not valid" + (
                " (it is empty)" if not entry else ""
            )
        elif entry & RESERVED:
            done.reason = f"level {level} entry has reserved bits 63..54 set"
        elif entry & W and not entry & R:
            done.reason = f"level {level} entry has W without R, which is reserved"
        elif entry & LEAF and address_of(entry) & SIZES[level] - 1:
            done.reason = f"level {level} leaf is misaligned"
        elif entry & LEAF:
            done.leaf = Leaf(va & ~(SIZES[level] - 1), address_of(entry), entry, level)
        elif level == 0:
            done.reason = "level 0 entry is a pointer (no R, W or X), but there is no level below"
        if done.reason or done.leaf:
            return done
        table = address_of(entry)
    return done
