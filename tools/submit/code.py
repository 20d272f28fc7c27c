"""Machine code of a tree's kernel and programs, as objdump prints it: who calls what, what a call fetches.

Relies on the toolchain that built the tree.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

Code = list[tuple[int, str]]  # address and text of each instruction


def functions_of(prefix: str, path: Path) -> dict[str, Code]:
    """The instructions of each function of an executable; nothing of one that objdump cannot read.

    prefix: of the toolchain, like riscv64-unknown-elf-.
    """
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


def narrow_stores(functions: dict[str, Code]) -> set[str]:
    """Functions that store 4 bytes through a pointer they were given and never 8: argint()'s kind."""
    narrow = {"argint"} & set(functions)
    for name, codes in functions.items():
        stores = [m for _, c in codes if (m := re.match(r"(s[bhwd])\s+\w+,-?\d+\((\w+)\)", c))]
        through = {m[1] for m in stores if m[2] not in ("sp", "s0", "gp")}
        if name.startswith("arg") and through == {"sw"}:
            narrow.add(name)
    return narrow


def fetched(functions: dict[str, Code], call: str) -> dict[int, bool]:
    """The arguments a system call's function fetches with arg...(index, &variable): index -> is it a
    number of 4 bytes? Empty where it does so in another way.
    """
    narrow = narrow_stores(functions)
    found: dict[int, bool] = {}
    index = -1
    for _, code in functions.get(call, []):
        if constant := re.match(r"li\s+a0,(\d+)$", code):
            index = int(constant[1])
        elif target := re.search(r"<(arg\w+)>$", code):
            if index >= 0:
                found[index] = target[1] in narrow
            index = -1
    return found


def reaches(functions: dict[str, Code], start: str, targets: set[str]) -> bool:
    """Does `start` call one of the targets, itself or through others? Yes if there is no `start` to read."""
    if start not in functions:
        return True
    seen, waiting = {start}, [start]
    while waiting:
        for _, code in functions.get(waiting.pop(), []):
            called = re.search(r"<(\w+)>$", code)
            if called and called[1] in targets:
                return True
            if called and called[1] not in seen:
                seen.add(called[1])
                waiting.append(called[1])
    return False
