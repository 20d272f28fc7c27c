"""Page tables with entries at random: every entry comes out once, as a leaf, a problem or a table page, and the walker
agrees with what the hardware would do.
"""

from __future__ import annotations

import random

import pytest

from tests.guest.image import FIRST, RAM, Image
from tests.guest.test_inspect import run
from tools.guest.memory import PAGE, RAM_BASE, GuestError
from tools.guest.sv39 import LEAF, SIZES, Table, V, canonical, read_table, walk

COMMANDS = (
    "pagetable 1",
    "pagetable 1 --all",
    "pagetable 1 --tree",
    "pagetable 1 --vmprint",
    "pagetable 1 --check",
    "walk 0x1000 1",
    "shmem --all",
    "shmem check",
    "frames",
    "ps -b",
    "snapshot a",
)


def entry(chance: random.Random, frames: list[int], root: int) -> int:
    """Anything a bug may leave in a table."""
    target = chance.choice(
        [*frames, root, RAM_BASE + RAM + PAGE, 0, 0x1000_0000, chance.getrandbits(44) << 12]
    )
    bits = chance.choice([1, chance.getrandbits(10), chance.getrandbits(10) | V, 0])
    return (
        target >> 12 << 10 | bits | (chance.getrandbits(10) << 54 if chance.random() < 0.1 else 0)
    )


def broken(image: Image, seed: int) -> int:
    """A process whose table pages have had a few of their entries changed; its root."""
    chance = random.Random(seed)
    root = image.process(0, 1, "init", pages=6)
    for _ in range(3):
        image.map(root, chance.randrange(1 << 38) & -PAGE, image.frame())
    image.free(*[image.frame() for _ in range(4)], root)  # the root, too, is free
    frames = list(range(RAM_BASE + FIRST, image.next, PAGE))
    for _ in range(chance.randrange(1, 24)):
        page = chance.choice(frames)
        index = chance.choice([chance.randrange(512), chance.randrange(4), 511])
        image.word(page + 8 * index, entry(chance, frames, root))
    return root


def entries_by_fate(table: Table) -> dict[tuple[int, int], list[str]]:
    """(table page, index) -> what became of each entry that is not empty."""
    fate: dict[tuple[int, int], list[str]] = {}
    for page in table.pages.values():
        for i, value in enumerate(page.entries):
            if value:
                fate[page.pa, i] = ["leaf"] if value & V and value & LEAF else []
            if table.below(page, i):
                fate[page.pa, i].append("followed")
    for problem in table.problems:
        kinds = fate[problem.table, problem.index]
        if "leaf" not in kinds:  # a leaf may have a problem, or several, besides
            kinds.append("problem")
    return fate


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_dropped_or_invented(image: Image, seed: int) -> None:
    root = broken(image, seed)
    table = read_table(image.memory, root)
    for place, kinds in entries_by_fate(table).items():
        several = set(kinds) == {"problem"}  # reserved bits, and something else
        assert len(kinds) == 1 or several or kinds == ["followed", "problem"], (place, kinds)
    pages = {p.pa: p for p in table.pages.values()}
    shown = [leaf.va for leaf in table.leaves()]
    assert len(shown) == len(set(shown)) and shown == sorted(shown)
    leaves = sum(bool(e & V and e & LEAF) for p in pages.values() for e in p.entries)
    assert len(shown) == leaves
    faulty = {p.va for p in table.problems}
    for leaf in table.leaves():
        found = walk(image.memory, root, leaf.va)
        assert (leaf.va in faulty) if found.leaf is None else found.leaf == leaf
    chance = random.Random(seed)
    for _ in range(200):
        va = canonical(
            chance.randrange(512) << 30 | chance.randrange(4) << 21 | chance.randrange(8) << 12
        )
        found = walk(image.memory, root, va)
        if found.leaf is not None:
            parents = [
                p.va for p in table.problems if p.kind in ("same-table", "loop", "reserved-bits")
            ]
            hidden = any(p <= va < p + SIZES[2] for p in parents)
            assert hidden or found.leaf.va in shown


@pytest.mark.parametrize("seed", range(6))
def test_commands_show_any_table(image: Image, seed: int) -> None:
    """Rows with labels, or one line; each damaged entry is a row of `pagetable`."""
    root = broken(image, seed)
    for line in COMMANDS:
        try:
            data, _ = run(image, line)
        except GuestError as error:
            assert "\n" not in str(error)
            continue
        if line == "pagetable 1":
            damaged = read_table(image.memory, root, "user").problems
            rows = [r for r in data["ranges"] if "kind" in r]
            assert [r["kind"] for r in rows] == [p.kind for p in damaged]


def test_every_kind_is_labelled(image: Image) -> None:
    """The mutations reach every label there is."""
    kinds = set()
    for seed in range(24):
        image.next = RAM_BASE + FIRST
        image.ram[FIRST:] = bytes(RAM - FIRST)
        kinds |= {p.kind for p in read_table(image.memory, broken(image, seed)).problems}
    assert kinds >= {
        "outside",
        "loop",
        "w-without-r",
        "pointer-at-0",
        "same-table",
        "misaligned",
        "not-valid",
    }
