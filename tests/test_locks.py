"""Lock order and harts that hang: the checks of the debug kernel are on, fire when they must, and find nothing.

The matrix's long form is `make soak SOAK=matrix`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import image, poke
from tests.harness.guest import PANIC, Boot, Guest
from tools.guest.elf import Elf

HEX = r"0x([0-9a-f]+)"


def function(guest: Guest, pc: str) -> str:
    """The kernel's function at a hexadecimal address."""
    found = Elf(str(guest.kernel)).nearest(int(pc, 16))
    assert found, pc
    return found[0].name


@pytest.mark.parametrize("seed", [1, 2])
def test_map_unmap_fork_exit_kill(boot: Boot, built: None, tmp_path: Path, seed: int) -> None:
    """Eight harts on which relatives map, unmap, fork, exit and kill each other: no report, no frame lost."""
    disk = image.make(tmp_path, ["matrix"])
    guest = boot(image=disk, cpus=8, debug=True)
    output = guest.run(f"matrix 50 {seed}", timeout=900)
    assert re.fullmatch(r"matrix: \d{3,} operations, \d+ workers: OK\n", output)
    assert "stuck:" not in guest.console and "lock order" not in guest.console


def test_order_check_names_both(boot: Boot) -> None:
    """A lock that claims to stand first in the order is refused under any other, with both names and places."""
    guest = boot(debug=True, audited=False)
    guest.forgive(PANIC)
    with poke.at_rest(guest) as kernel:
        poke.write(guest, poke.place(kernel, "kmem", "lock", "rank"), 0)
    guest.keys("ls\n")
    told = guest.expect(
        rf"panic: lock order: kmem \({HEX}\) is taken at {HEX} while (\w+) \({HEX}\) is held since {HEX}"
    )
    assert function(guest, told[2]) in {"kalloc", "kalloc_zero", "kalloc_last", "frame_free"}
    assert function(guest, told[5])


def test_a_lock_that_is_never_free_is_named(boot: Boot) -> None:
    """After ten seconds: which hart waits, where, for which lock, who holds it since where. Then it goes on."""
    guest = boot(debug=True)
    with poke.at_rest(guest) as kernel:
        locked = poke.place(kernel, "kmem", "lock", "locked")
        poke.write(guest, locked, 1)
    guest.keys("echo there\n")
    told = guest.expect(
        rf"stuck: hart (\d) waits at {HEX} for lock kmem \({HEX}\), held by hart -1 since {HEX}\r?\n"
    )
    assert function(guest, told[2]) in {"kalloc", "kalloc_zero", "kalloc_last", "frame_free"}
    poke.write(guest, locked, 0)
    guest.expect(r"there\r?\n\$ ")


@pytest.mark.parametrize("cpus", [2, 8])
def test_a_hart_that_keeps_interrupts_off_is_named(boot: Boot, cpus: int) -> None:
    """No lock is involved: a hart waits for another to let a process go, which nobody holds. Then it goes on."""
    guest = boot(cpus=cpus, debug=True)
    with poke.at_rest(guest) as kernel:
        on_hart = poke.place(kernel, "proc", poke.slot(kernel, "sh"), "on_hart")
        poke.write(guest, on_hart, 1)
    guest.keys("echo there\n")
    told = guest.expect(
        rf"stuck: hart (\d) has had interrupts off for 10 s, pid 0 \(scheduler\), pc {HEX}, waits for no lock\r?\n"
    )
    assert function(guest, told[2]) in {"scheduler", "hand_over", "tlb_poll"}
    poke.write(guest, on_hart, 0)
    guest.expect(r"there\r?\n\$ ")


def test_short_work_is_not_a_stuck_hart(boot: Boot, built: None, tmp_path: Path) -> None:
    """Harts that others wake all the time, for so little that no timer interrupt ever comes, do take interrupts."""
    guest = boot(image=image.make(tmp_path, ["nap"]), cpus=2, debug=True)
    assert guest.run("nap 130") == "nap: OK\n"
    assert "stuck:" not in guest.console
