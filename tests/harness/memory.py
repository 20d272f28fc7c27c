"""Judges a quiet guest's memory from outside: counts against page tables, free frames, locks.

Relies on tools/guest for the judgement. QEMU is stopped for each look, so that one moment is seen.
"""

from __future__ import annotations

import signal

from tests.harness.guest import Guest
from tools.guest import Processes, open_guest
from tools.guest.audit import Audit

MARK = "entry-not-valid"  # this kernel's mark for a page that must not be filled (mm/mapping.h)
LOOKS = 8  # a tick may hold a lock, a hart be inside kalloc: only what every look shows counts


def check(guest: Guest) -> None:
    """Raises GuestFailure if several looks in a row find the same thing wrong."""
    common = look(guest)
    for _ in range(LOOKS - 1):
        if not common:
            return
        common &= look(guest)
    if common:
        raise guest.fail("the guest's memory is not in order:\n" + "\n".join(sorted(common)))


def look(guest: Guest) -> set[str]:
    """What is wrong at this moment, one line each."""
    guest.signal_qemu(signal.SIGSTOP)
    try:
        kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
        findings = Audit(Processes(kernel)).quiet()
        kernel.memory.close()
    finally:
        guest.signal_qemu(signal.SIGCONT)
    return {f.message for f in findings if f.level == "error" and f.kind != MARK}
