"""A hart is never taken away in the middle of an emission: what trace_emit() (kernel/trace/trace.h) relies on.

Relies on objdump's disassembly for where emissions are, on QEMU's gdb stub to interrupt them at each instruction, and
on DESIGN's rule that tp is the hart.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import image, poke, tree
from tests.harness.guest import Boot, Guest
from tools.guest import Processes
from tools.guest.elf import Elf
from tools.submit.stub import CODE, Stub

OBJDUMP = "riscv64-unknown-elf-objdump"
CLINT = 0x2000000  # a word written there interrupts hart 0 (kernel/memlayout.h)
WAIT = 120.0  # seconds for the guest to come to an instruction that it executes all the time


@dataclass
class Emission:
    """One place in the kernel at which a record is filled: from the store that says so to the one that ends it."""

    function: str
    inside: list[tuple[int, str]] = field(
        default_factory=list
    )  # address and text, the last store's too

    @property
    def last(self) -> int:
        """Address of the store that ends it."""
        return self.inside[-1][0]


def offset(kernel: Path, name: str) -> int:
    """Where a field of struct cpu is."""
    kind = Elf(str(kernel)).struct("cpu")
    assert kind
    return kind.fields[name].offset


def emissions(kernel: Path) -> tuple[list[Emission], dict[str, int]]:
    """All of a kernel's emissions, and the addresses of its functions.

    kerneltrap() keeps the flag over an interrupt, and stores to it for that; its own stores are left out.
    """
    flag = offset(kernel, "emitting")
    done = subprocess.run(
        [OBJDUMP, "-d", "--no-show-raw-insn", kernel], capture_output=True, text=True, check=True
    )
    found: list[Emission] = []
    functions: dict[str, int] = {}
    now: Emission | None = None
    for line in done.stdout.splitlines():
        if header := re.match(r"([0-9a-f]+) <([\w.]+)>:$", line):
            assert now is None, f"{now.function} ends in the middle of an emission"
            functions[header[2]] = int(header[1], 16)
            function = header[2]
        elif (found_one := re.match(r"([0-9a-f]+):\s+(.*)", line)) and function != "kerneltrap":
            address, text = int(found_one[1], 16), found_one[2]
            store = re.match(rf"sw\t(\w+),{flag}\(tp\)", text)
            if now:
                now.inside.append((address, text))
            if store and store[1] == "zero":
                assert now, f"{function} ends an emission at {address:#x} that did not begin"
                found.append(now)
                now = None
            elif store:
                assert now is None, f"{function} begins an emission within another at {address:#x}"
                now = Emission(function)
    return found, functions


def alone(guest: Guest, name: str) -> bool:
    """Whether this program runs, and nobody else has anything to do."""
    with poke.stopped(guest) as memory:
        states = {p.name: p.state for p in Processes(memory).used}
    others = {state for who, state in states.items() if who != name}
    return states.get(name) in ("RUNNING", "RUNNABLE") and others == {"SLEEPING"}


@pytest.mark.parametrize("kernel", [tree.KERNEL, tree.DEBUG_KERNEL], ids=["plain", "debug"])
def test_an_emission_goes_straight_through(built: None, kernel: Path) -> None:
    """Nothing leads out of any emission, and all it knows of its hart it reads through tp, once it holds it."""
    found, _ = emissions(kernel)
    assert len(found) > 30
    needed = {offset(kernel, "ring_head"), offset(kernel, "stamp")}
    for emission in found:
        read = set()
        for address, text in emission.inside:
            where = f"{emission.function} at {address:#x}: {text}"
            operation, _, arguments = text.partition("\t")
            assert not re.match(r"b|j|[msu]?ret$|call|ecall|ebreak|wfi", operation), where
            if "tp" in re.split(r"\W+", arguments.split("#")[0].split("<")[0]):
                access = re.search(r",(\d+)\(tp\)", arguments)
                assert access, f"the hart is copied: {where}"
                read.add(int(access[1]))
        assert read == needed | {offset(kernel, "emitting")}, emission.function


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_nobody_else_runs_in_the_middle_of_one(boot: Boot, tmp_path: Path, debug: bool) -> None:
    """Interrupted twice at each instruction of an emission, with the hart to be given away: that waits for its end."""
    found, functions = emissions(tree.DEBUG_KERNEL if debug else tree.KERNEL)
    emission = next(e for e in found if e.function == "syscall")  # interrupts are on there
    trap, in_handler, give_way = (functions[f] for f in ("kerneltrap", "tlb_poll", "yield"))
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/gdb"
        guest = boot(
            image=image.make(tmp_path, ["flood"]),
            cpus=1,
            debug=debug,
            audited=False,
            extra=("-gdb", f"unix:{socket},server=on,wait=off", "-append", "trace=sys"),
        )
        with poke.stopped(guest) as memory:
            reschedule = poke.place(memory, "cpus", 0, "reschedule")
            emitting = poke.place(memory, "cpus", 0, "emitting")
        guest.keys("flood 1000000\n")
        deadline = time.monotonic() + guest.timeout
        while not alone(guest, "flood"):
            assert time.monotonic() < deadline, guest.tail()
            time.sleep(0.05)
        stub = Stub(socket)

        def run_to(*addresses: int) -> int:
            for address in addresses:
                stub.insert(CODE, address)
            assert stub.resume(WAIT), f"the guest does not come to {addresses}"
            for address in addresses:
                stub.remove(CODE, address)
            return stub.registers(0)["pc"]

        for address, text in emission.inside:
            assert run_to(address) == address
            stub.store(reschedule, b"\1\0\0\0")
            stub.store(CLINT, b"\1\0\0\0")
            reached = run_to(trap, give_way, emission.last)
            assert reached == trap, f"no interrupt comes at {address:#x}: {text}"
            assert run_to(in_handler) == in_handler
            stub.store(emitting, b"\0\0\0\0")  # as an emission of the handler's leaves it
            stub.store(CLINT, b"\1\0\0\0")  # again, at the same instruction
            reached = run_to(give_way, emission.last)
            assert reached == emission.last, f"the hart is given away at {address:#x}: {text}"
            assert run_to(give_way) == give_way  # and then it is
        stub.close()
