"""Writes into a running guest's memory, to bring about what no program can: a lock never let go, a rank that lies.

Relies on tools/guest for where things are and on the RAM file, which QEMU shares.
"""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.guest import Guest
from tools.guest import Kernel, Processes, open_guest
from tools.guest.memory import RAM_BASE


@contextmanager
def stopped(guest: Guest) -> Iterator[Kernel]:
    """The guest's memory, while QEMU stands still."""
    guest.signal_qemu(signal.SIGSTOP)
    kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
    try:
        yield kernel
    finally:
        kernel.memory.close()
        guest.signal_qemu(signal.SIGCONT)


@contextmanager
def at_rest(guest: Guest) -> Iterator[Kernel]:
    """The same, at a moment when every process sleeps and has left its hart: what runs may change back what is written.

    The prompt is no such moment: the shell prints it before it goes to sleep, which a busy host may delay.
    """
    deadline = time.monotonic() + guest.timeout
    while True:
        with stopped(guest) as kernel:
            processes = Processes(kernel).used
            if all(p.state == "SLEEPING" and not p.record.number("on_hart") for p in processes):
                yield kernel
                return
        if time.monotonic() > deadline:
            raise guest.fail("the processes don't come to rest")
        time.sleep(0.05)


def write(guest: Guest, pa: int, value: int) -> None:
    """Stores 32 bits at a physical address."""
    with open(guest.ram, "r+b") as file:
        file.seek(pa - RAM_BASE)
        file.write(struct.pack("<I", value))


def place(kernel: Kernel, variable: str, *path: str | int) -> int:
    """Physical address of part of a variable: place(k, "kmem", "lock", "rank"), place(k, "proc", 3, "on_hart")."""
    found = kernel.elf.variable(variable)
    assert found, variable
    address, kind = found
    for step in path:
        if isinstance(step, int):
            assert kind.target
            kind = kind.target
            address += step * kind.size
        else:
            member = kind.fields[step]
            address, kind = address + member.offset, member.type
    pa = kernel.to_pa(address)
    assert pa
    return pa


def slot(kernel: Kernel, name: str) -> int:
    """Where in proc[] the process of that name is."""
    return next(p.slot for p in Processes(kernel).used if p.name == name)
