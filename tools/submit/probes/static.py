"""What a run cannot show: read from the machine code of the programs and the kernel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.guest.elf import Elf
from tools.submit.probes.base import Bench, Probe


def disassembly(bench: Bench, path: Path) -> dict[str, list[str]]:
    """The instructions of each function, as objdump prints them without addresses."""
    command = [f"{bench.lab.build.prefix}objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    functions: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        found = re.match(r"[0-9a-f]+ <([^>]+)>:", line)
        if found:
            name = found[1]
        elif name and (code := re.match(r"\s+[0-9a-f]+:\s+(.*)", line)):
            functions.setdefault(name, []).append(code[1])
    return functions


def fences(bench: Bench) -> None:
    """A server that works but has no fence anywhere cannot have one before each state change."""
    path = bench.lab.build.programs["crypto_srv"]
    functions = disassembly(bench, path)
    ordered = [
        f"{name}: {code}"
        for name, codes in functions.items()
        for code in codes
        if re.match(r"fence(\s|$)|amo\w+\.\w+\.(aqrl|rl)|sc\.\w\.(aqrl|rl)", code)
        and "fence.i" not in code
    ]
    if not ordered:
        bench.find(
            "C5",
            "The server has no fence: nothing orders the data before the state that announces them.",
            [
                f"{path.name}: {sum(map(len, functions.values()))} instructions, none of them a fence"
            ],
            function="main",
            elf=Elf(str(path)),
        )


def narrow_fetch(bench: Bench) -> None:
    """argint() stores 4 bytes; a local that is then read as 8 has an upper half nobody wrote."""
    functions = disassembly(bench, Path(bench.lab.elf.path))
    for name in ("sys_map_shared_pages", "sys_unmap_shared_pages", "sys_crypto_op"):
        codes = functions.get(name, [])
        narrow: set[str] = set()
        written: set[str] = set()
        pointer = ""
        for code in codes:
            if move := re.match(r"addi\s+a1,s0,(-?\d+)", code):
                pointer = move[1]
            elif re.match(r"sd\s+\w+,(-?\d+)\(s0\)", code):
                written.add(re.findall(r"(-?\d+)\(s0\)", code)[0])
            elif re.search(r"<argint>", code) and pointer:
                if pointer not in written:
                    narrow.add(pointer)
            elif load := re.match(r"ld\s+\w+,(-?\d+)\(s0\)", code):
                if load[1] in narrow:
                    bench.find(
                        "X7",
                        f"{name} fetches an argument with argint() into a variable of 64 bits: its "
                        "upper half is whatever the stack held.",
                        [f"argint() writes 4 bytes at s0{load[1]}", f"then: {code}"],
                        function=name,
                    )


PROBES = [
    Probe("fences", ("C5",), ("server",), fences),
    Probe("narrow fetch", ("X7",), ("map",), narrow_fetch),
]
