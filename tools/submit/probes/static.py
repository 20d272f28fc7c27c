"""What a run cannot show: read from the machine code of the programs and the kernel."""

from __future__ import annotations

import re
from pathlib import Path

from tools.submit.code import Code, functions_of, narrow_stores
from tools.submit.probes.base import Bench, Probe, one_mapping

CALLS = ("map_shared_pages", "unmap_shared_pages", "crypto_op")
BARRIER = (
    r"fence(\s|$)|amo\w+\.\w+\.(aqrl|rl)|sc\.\w\.(aqrl|rl)"  # orders stores before those after
)


def disassembly(bench: Bench, path: Path) -> dict[str, Code]:
    """The instructions of each function, as objdump prints them."""
    return functions_of(bench.lab.build.prefix, path)


def fences_of(bench: Bench, path: Path) -> list[int]:
    """Addresses of a program's instructions that order what was stored before what will be."""
    return [
        at
        for codes in disassembly(bench, path).values()
        for at, code in codes
        if re.match(BARRIER, code) and "fence.i" not in code
    ]


def narrow_fetch(bench: Bench) -> None:
    """argint() stores 4 bytes; a local that is then read as 8 has an upper half nobody wrote."""
    functions = disassembly(bench, Path(bench.lab.elf.path))
    fetches = narrow_stores(functions)
    calls = [bench.lab.numbers.function(call) for call in CALLS]
    if not set(calls) & set(functions):
        bench.undecided("X7", "none of the assignment's system calls is there")
    for name in calls:
        narrow: set[str] = set()
        written: set[str] = set()
        pointer = ""
        for at, code in functions.get(name, []):
            if move := re.match(r"(?:addi?|mv)\s+a1,(s0|sp)(?:,(-?\d+))?", code):
                pointer = f"{move[2] or 0}({move[1]})"
            elif store := re.match(r"sd\s+\w+,(-?\d+\((?:s0|sp)\))", code):
                written.add(store[1])
                narrow.discard(store[1])
            elif call := re.search(r"<(\w+)>$", code):
                narrow.discard(pointer)  # another variable may be in its place
                if call[1] in fetches and pointer and pointer not in written:
                    narrow.add(pointer)
                pointer = ""
            elif load := re.match(r"ld\s+\w+,(-?\d+\((?:s0|sp)\))", code):
                if load[1] in narrow:
                    bench.find(
                        "X7",
                        f"{name} fetches an argument with {'/'.join(sorted(fetches))}() into a "
                        "variable of 64 bits: its upper half is whatever the stack held.",
                        [f"4 bytes are written at {load[1]}", f"then 8 are read: {code}"],
                        function=name,
                        line=bench.lab.elf.line(at),
                    )


PROBES = [
    Probe("narrow fetch", ("X7",), (), narrow_fetch, observable=False, scene=one_mapping),
]
