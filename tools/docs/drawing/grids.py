"""Figures that show every piece of something once: the blocks of a disk image, the frames of a guest."""

from __future__ import annotations

import struct
from collections import Counter

from tools.docs.drawing.svg import Drawing
from tools.guest import PAGE, Kernel, Processes
from tools.guest.audit import Audit
from tools.guest.frames import ram

BLOCK, INODE = 1024, struct.Struct("<4hI13I")  # bytes of a block; struct dinode (kernel/fs.h)
DIRECTORY = 1  # T_DIR
COLUMNS, LEFT, TOP = 64, 24, 70
FRAMES = 2048  # how many are drawn: the memory from the kernel's end on
UNUSED = "panel"


def grid(drawing: Drawing, kinds: list[str], cell: float, key: dict[str, str]) -> None:
    """Cells in rows, the first at the upper left, and below them what each colour means."""
    side = cell - 1.5
    for kind in sorted(set(kinds)):  # one path for all cells of a colour: a tenth of the bytes
        corners = (
            (LEFT + cell * (i % COLUMNS), TOP + cell * (i // COLUMNS))
            for i in range(len(kinds))
            if kinds[i] == kind
        )
        d = "".join(f"M{x:g},{y:g}h{side:g}v{side:g}h-{side:g}z" for x, y in corners)
        drawing.add(f'<path d="{d}" class="{kind}" opacity="{0.5 if kind == UNUSED else 0.8}"/>')
    x, y = float(LEFT), drawing.height - 22
    for kind, words in key.items():
        drawing.rect(x, y - 11, 14, 14, kind, opacity=0.8)
        drawing.text(x + 20, y, words, "small")
        x += 40 + 6.4 * len(words)


def disk(image: bytes) -> Drawing:
    """Every block of an image in xv6's format, by use (kernel/fs.h, struct superblock)."""
    _, size, _, ninodes, _, log, inodes, bitmap = struct.unpack_from("<8I", image, BLOCK)
    inode_blocks = -(-ninodes * INODE.size // BLOCK)
    kinds = [UNUSED] * size
    kinds[0:2] = ["grey", "red"]
    kinds[log:inodes] = ["amber"] * (inodes - log)
    kinds[inodes : inodes + inode_blocks] = ["violet"] * inode_blocks
    kinds[bitmap] = "teal"
    for number in range(ninodes):
        kind, _, _, _, length, *addresses = INODE.unpack_from(
            image, inodes * BLOCK + number * INODE.size
        )
        if kind == 0:
            continue
        indirect = addresses.pop()
        if indirect:
            addresses += struct.unpack_from(f"<{BLOCK // 4}I", image, indirect * BLOCK)
            kinds[indirect] = "blue"
        address: int
        for address in filter(None, addresses):
            kinds[address] = "green" if kind == DIRECTORY else "blue"
    cell = 12.5
    height = TOP + cell * -(-size // COLUMNS) + 54
    drawing = Drawing(LEFT * 2 + cell * COLUMNS, height, "The blocks of fs.img")
    drawing.text(
        LEFT, 30, f"fs.img: {size:,} blocks of 1 KiB, the first at the upper left", "title"
    )
    drawing.text(LEFT, 50, "As mkfs makes it: a square is a block.", "small faint")
    key = {
        "grey": "boot",
        "red": "superblock",
        "amber": "log",
        "violet": "inodes",
        "teal": "bitmap",
        "green": "directories",
        "blue": "files",
        UNUSED: "free",
    }
    grid(drawing, kinds, cell, key)
    return drawing


def uses(kernel: Kernel) -> list[str]:
    """The use of each frame of RAM, as the colour that stands for it."""
    audit = Audit(Processes(kernel))
    start, end = ram(kernel.memory)
    kinds = ["amber"] * (
        (end - start) // PAGE
    )  # the kernel's, unless something below says otherwise
    for pa in audit.free.frames if audit.free else ():
        kinds[(pa - start) // PAGE] = UNUSED
    for table in audit.mappings.tables.values():
        for page in table.pages:
            kinds[(page - start) // PAGE] = "violet"
    for pa, leaves in audit.mappings.frames.items():
        kinds[(pa - start) // PAGE] = "red" if len(leaves) > 1 else "green"
    return kinds


def frames(kernel: Kernel) -> Drawing:
    """The first frames of a guest's memory, by use."""
    kinds = uses(kernel)
    often = Counter(kinds)
    cell = 12.5
    height = TOP + cell * FRAMES // COLUMNS + 54
    drawing = Drawing(LEFT * 2 + cell * COLUMNS, height, "The frames of a guest")
    drawing.text(LEFT, 30, f"The {len(kinds):,} frames of a guest at its prompt", "title")
    drawing.text(
        LEFT,
        50,
        f"The first {FRAMES:,} of them, a square each; above are only free ones.",
        "small faint",
    )
    key = {
        "amber": f"the kernel's ({often['amber']:,})",
        "violet": f"page tables ({often['violet']:,})",
        "green": f"one process's ({often['green']:,})",
        "red": f"several processes' ({often['red']:,})",
        UNUSED: f"free ({often[UNUSED]:,})",
    }
    grid(drawing, kinds[:FRAMES], cell, key)
    return drawing
