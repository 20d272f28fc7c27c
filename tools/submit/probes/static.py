"""What a run cannot show: read from the machine code of the programs and the kernel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.submit.probes.base import Bench, Probe, one_mapping

CALLS = ("sys_map_shared_pages", "sys_unmap_shared_pages", "sys_crypto_op")
Code = list[tuple[int, str]]  # address and text of each instruction
BARRIER = (
    r"fence(\s|$)|amo\w+\.\w+\.(aqrl|rl)|sc\.\w\.(aqrl|rl)"  # orders stores before those after
)


def disassembly(bench: Bench, path: Path) -> dict[str, Code]:
    """The instructions of each function, as objdump prints them."""
    return functions_of(bench.lab.build.prefix, path)


def functions_of(prefix: str, path: Path) -> dict[str, Code]:
    """The same with the objdump of a toolchain; nothing of what it cannot read."""
    command = [f"{prefix}objdump", "-d", "--no-show-raw-insn", str(path)]
    output = subprocess.run(command, capture_output=True, check=False).stdout
    text = output.decode("utf-8", "replace")  # names may be any bytes
    functions: dict[str, Code] = {}
    name = ""
    for line in text.splitlines():
        found = re.match(r"[0-9a-f]+ <([^>]+)>:", line)
        if found:
            name = found[1]
        elif name and (code := re.match(r"\s*([0-9a-f]+):\s+(.*)", line)):
            functions.setdefault(name, []).append((int(code[1], 16), code[2]))
    return functions


def fences_of(bench: Bench, path: Path) -> list[int]:
    """Addresses of a program's instructions that order what was stored before what will be."""
    return [
        at
        for codes in disassembly(bench, path).values()
        for at, code in codes
        if re.match(BARRIER, code) and "fence.i" not in code
    ]


def narrow_stores(functions: dict[str, Code]) -> set[str]:
    """Functions that store 4 bytes through a pointer they were given and never 8: argint()'s kind."""
    narrow = {"argint"} & set(functions)
    for name, codes in functions.items():
        stores = [m for _, c in codes if (m := re.match(r"(s[bhwd])\s+\w+,-?\d+\((\w+)\)", c))]
        through = {m[1] for m in stores if m[2] not in ("sp", "s0", "gp")}
        if name.startswith("arg") and through == {"sw"}:
            narrow.add(name)
    return narrow


def narrow_fetch(bench: Bench) -> None:
    """argint() stores 4 bytes; a local that is then read as 8 has an upper half nobody wrote."""
    functions = disassembly(bench, Path(bench.lab.elf.path))
    fetches = narrow_stores(functions)
    if not set(CALLS) & set(functions):
        bench.undecided("X7", "none of the assignment's system calls is there")
    for name in CALLS:
        narrow: set[str] = set()
        written: set[str] = set()
        pointer = ""
        for at, code in functions.get(name, []):
            if move := re.match(r"(?:addi?|mv)\s+a1,(s0|sp)(?:,(-?\d+))?", code):
                pointer = f"{move[2] or 0}({move[1]})"
            elif store := re.match(r"sd\s+\w+,(-?\d+\((?:s0|sp)\))", code):
                written.add(store[1])
            elif (call := re.search(r"<(\w+)>$", code)) and call[1] in fetches and pointer:
                if pointer not in written:
                    narrow.add(pointer)
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
