"""Frames as told from a function's code, against the compiler's own account of them."""

from __future__ import annotations

from typing import Any, Iterator

from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from tests.harness import tree
from tools.guest import prologue
from tools.guest.elf import Elf
from tools.guest.prologue import Built

RA, S0 = 1, 8  # DWARF numbers


def told_by_compiler() -> Iterator[tuple[int, Built]]:
    """From the kernel's .debug_frame, for every address at which something changes."""
    with open(tree.KERNEL, "rb") as f:
        for entry in ELFFile(f).get_dwarf_info().CFI_entries():
            rows: list[dict[Any, Any]] = entry.get_decoded().table if isinstance(entry, FDE) else []
            end = rows and entry["initial_location"] + entry["address_range"]
            for row, after in zip(rows, [r["pc"] for r in rows[1:]] + [end]):
                if row["pc"] == after or row["cfa"].reg not in (2, S0):
                    continue
                in_frame = RA in row and row[RA].type == "OFFSET"
                own = Built.FRAME if in_frame else Built.LEAF
                yield row["pc"], own if row["cfa"].reg == S0 else Built.NOTHING


def test_frames_are_told_from_code(built: None) -> None:
    """All but a few of thousands of places; between an epilogue's two loads either answer is right."""
    elf = Elf(str(tree.KERNEL))
    places = list(told_by_compiler())
    wrong = [
        hex(pc)
        for pc, wanted in places
        if prologue.built(elf, pc) is not wanted
        and (prologue.built(elf, pc), wanted) != (Built.FRAME, Built.LEAF)
    ]
    assert len(places) > 2000 and len(wrong) < len(places) / 200, wrong
