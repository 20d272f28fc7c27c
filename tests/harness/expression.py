"""Finds parts of a kernel's variables by expressions like proc[1].lock.locked, for tests that read or change them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Optional

from tools.guest.elf import Elf


def place(
    elf: Elf, expression: str, follow: Optional[Callable[[int], int]] = None
) -> tuple[int, int]:
    """Kernel address and size of what the expression names.

    follow: reads the pointer at an address, where [] stands behind one.
    """
    name, rest = re.match(r"(\w+)(.*)", expression).groups()  # type: ignore[union-attr]
    found = elf.variable(name)
    assert found, name
    address, kind = found
    for index, member in re.findall(r"\[(\d+)\]|\.(\w+)", rest):
        if index and kind.kind == "pointer" and follow:
            address = follow(address)
        if index:
            assert kind.target
            kind = kind.target
            address += int(index) * kind.size
        else:
            field = kind.fields[member]
            address, kind = address + field.offset, field.type
    return address, kind.size
