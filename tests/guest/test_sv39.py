"""Page tables, sound and broken: every entry comes out as a leaf or as a problem with a label."""

from __future__ import annotations

import re
import struct

import pytest

from tests.guest.image import DATA, Image
from tools.guest.memory import RAM_BASE
from tools.guest.sv39 import (
    PROBLEMS,
    A,
    C,
    R,
    S,
    U,
    V,
    W,
    X,
    canonical,
    flag_text,
    read_table,
    walk,
)


def kinds(image: Image, root: int) -> list[tuple[str, int]]:
    return [(p.kind, p.va) for p in read_table(image.memory, root).problems]


def test_leaves_and_ranges(image: Image) -> None:
    """Adjacent pages with equal permissions are one range, whatever A and D say."""
    root = image.frame()
    image.map(root, 0x1000, 0x8010_0000, V | R | X | U | A)
    image.map(root, 0x2000, 0x8010_1000, V | R | X | U)
    image.map(root, 0x3000, 0x8013_0000, DATA)
    image.map(root, 0x4000, 0x8012_0000, DATA | S)
    image.map(root, 0x20_0000, 0x8020_0000, DATA, level=1)
    table = read_table(image.memory, root)
    assert [(leaf.va, leaf.pa, leaf.size) for leaf in table.leaves()] == [
        (0x1000, 0x8010_0000, 0x1000),
        (0x2000, 0x8010_1000, 0x1000),
        (0x3000, 0x8013_0000, 0x1000),
        (0x4000, 0x8012_0000, 0x1000),
        (0x20_0000, 0x8020_0000, 0x20_0000),
    ]
    first, *others = table.ranges()
    assert (first.va, first.size, first.pieces) == (0x1000, 0x2000, 1)
    assert flag_text(first.flags, first.some) == "R-XU -a- --"
    assert [(r.va, r.size, r.level) for r in others] == [
        (0x3000, 0x1000, 0),
        (0x4000, 0x1000, 0),
        (0x20_0000, 0x20_0000, 1),
    ]
    assert not table.problems


def test_scattered_frames_are_counted_as_pieces(image: Image) -> None:
    root = image.frame()
    for va, pa in ((0, 0x8013_0000), (0x1000, 0x8013_1000), (0x2000, 0x8012_0000)):
        image.map(root, va, pa)
    (merged,) = read_table(image.memory, root).ranges()
    assert (merged.size, merged.pieces) == (0x3000, 2)
    assert [r.size for r in read_table(image.memory, root).ranges(contiguous=True)] == [
        0x2000,
        0x1000,
    ]


def test_halves(image: Image) -> None:
    """The upper half's addresses are sign-extended, and each half can be had alone."""
    root = image.frame()
    high = canonical(0x7F_FFFF_F000)
    image.map(root, 0x1000, 0x8010_0000)
    image.map(root, 0x7F_FFFF_F000, 0x8010_1000)
    vas = {
        h: [x.va for x in read_table(image.memory, root, h).leaves()] for h in ("user", "kernel")
    }
    assert vas == {"user": [0x1000], "kernel": [high]}
    assert high == 0xFFFF_FFFF_FFFF_F000
    assert walk(image.memory, root, high).pa == 0x8010_1000


@pytest.mark.parametrize(
    "entry, kind",
    [
        (0x8010_0000 >> 2 | V | W, "w-without-r"),
        (0x8010_0000 >> 2 | V, "pointer-at-0"),
        (0x8010_0000 >> 2 | R | W, "not-valid"),
        (C, "marked"),
        (0x9000_0000 >> 2 | DATA, "outside"),
        (0x8010_0000 >> 2 | DATA | 1 << 63, "reserved-bits"),
    ],
)
def test_broken_leaf(image: Image, entry: int, kind: str) -> None:
    root = image.frame()
    image.map(root, 0x4000, 0x8010_0000)
    image.word(image.map(root, 0x5000, 0), entry)
    assert kinds(image, root) == [(kind, 0x5000)]
    present = bool(entry & V and entry & (R | W | X))
    assert [x.va for x in read_table(image.memory, root).leaves()] == [0x4000] + [0x5000] * present


def test_broken_pointers(image: Image) -> None:
    """Outside memory, back to the root, to itself, twice the same table, a misaligned large page."""
    root = image.frame()
    image.map(root, 0x1000, 0x8010_0000)
    (first,) = struct.unpack_from("<Q", image.ram, root - RAM_BASE)
    gib = 1 << 30
    for i, entry in enumerate((0x9000_0000 >> 2 | V, root >> 2 | V, first), 1):
        image.word(root + 8 * i, entry)
    image.map(root, 4 * gib, 0x8000_1000, DATA, level=1)
    found = kinds(image, root)
    assert found == [
        ("outside", gib),
        ("loop", 2 * gib),
        ("same-table", 3 * gib),
        ("misaligned", 4 * gib),
    ]
    assert [x.va for x in read_table(image.memory, root).leaves()] == [0x1000, 4 * gib]


def test_garbage_is_bounded(image: Image) -> None:
    """A root full of one pattern, as a freed page is, gives 512 labelled rows and no leaf."""
    root = image.frame()
    image.write(root, b"\x01" * 4096)
    table = read_table(image.memory, root)
    assert len(table.problems) >= 512 and not list(table.leaves())


def test_root_outside_memory(image: Image) -> None:
    table = read_table(image.memory, 0x1234_5000)
    assert [p.kind for p in table.problems] == ["outside"] and not list(table.leaves())


@pytest.mark.parametrize(
    "va, reason",
    [
        (0x1000, ""),
        (0x2000, "level 0 entry is not valid (it is empty)"),
        (0x40_0000_0000 - 0x1000, "level 2 entry is not valid (it is empty)"),
        (1 << 38, "not canonical: bits 63..39 must repeat bit 38"),
        (0x3000, "level 0 entry has W without R, which is reserved"),
        (0x4000, "level 0 entry is a pointer (no R, W or X), but there is no level below"),
    ],
)
def test_walk_says_why(image: Image, va: int, reason: str) -> None:
    root = image.frame()
    image.map(root, 0x1000, 0x8010_0000)
    image.map(root, 0x3000, 0x8010_0000, V | W)
    image.map(root, 0x4000, 0x8010_0000, V)
    assert walk(image.memory, root, va).reason == reason


def test_walk_explains_accesses(image: Image) -> None:
    root = image.frame()
    image.map(root, 0x1000, 0x8010_0000, V | R | X)
    image.map(root, 0x2000, 0x8010_0000, V | R | U | C)
    kernel, user = walk(image.memory, root, 0x1008), walk(image.memory, root, 0x2000)
    assert kernel.pa == 0x8010_0008
    assert kernel.fault("R", user=True) == "level 0 entry has no U: the page is the kernel's"
    assert kernel.fault("W", user=False) == "level 0 entry has no W"
    assert kernel.fault("X", user=False) == ""
    assert "copied on the first write" in user.fault("W", user=True)
    assert "SUM" in user.fault("R", user=False)
    assert user.fault("R", user=False, sum_bit=True) == ""


def test_problems_by_the_million_are_bounded(image: Image) -> None:
    """A mapping that ran past the end of memory fills table pages with bad entries: some are told."""
    root = image.frame()
    for i in range(512 * 60):
        image.map(root, i << 12, (1 << 40) + (i << 12), DATA)
    table = read_table(image.memory, root)
    assert PROBLEMS <= len(table.problems) <= PROBLEMS + 512
    more = [p for p in table.problems if p.kind == "more"]
    assert len(more) == 1 and re.search(r"the last \d\d table pages are not examined", more[0].text)
