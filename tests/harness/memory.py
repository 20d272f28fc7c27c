"""Judges a quiet guest's memory from outside: counts against page tables, free frames, locks, and
the kernel's other books (rest.py).

Relies on tools/guest for the judgement. QEMU is stopped for each look, so that one moment is seen.
"""

from __future__ import annotations

import signal

from tests.harness import rest
from tests.harness.guest import Guest
from tools.guest import Processes, open_guest
from tools.guest.accounts import account
from tools.guest.audit import Audit

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
        return inspect(guest)
    finally:
        guest.signal_qemu(signal.SIGCONT)


def inspect(guest: Guest) -> set[str]:
    """What is wrong with a guest that stands still, one line each."""
    kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
    try:
        audit = Audit(Processes(kernel))
        found = {f.message for f in audit.quiet() if f.level == "error"}
        found.update(rest.findings(audit.processes))
        found.update(f"frame {pa:#x} is lost: nothing refers to it" for pa in account(audit).leaked)
        return found
    finally:
        kernel.memory.close()
