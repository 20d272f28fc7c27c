"""Runs fuzz in a guest, round after round, and looks at the guest from outside between them.

Relies on user/fuzz.c, and on the symbols of build/user/_fuzz to read its shared pages after a failure.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator

from tests.harness import audit, failpoint, tree
from tests.harness.guest import Guest, GuestFailure
from tools.guest import Processes, open_guest
from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.guest.queue import read_user

PROGRAM = tree.BUILD / "user" / "_fuzz"
DONE = re.compile(r"^fuzz: seed \d+: (\d+) calls, (\d+) gave a result\nfuzz: OK\n", re.M)


def rounds(guest: Guest, seed: int, calls: int, each: int, timeout: float = 900) -> tuple[int, int]:
    """Runs `calls` calls in rounds of `each`, seeds counted up from `seed`; audits after each round.

    Returns the calls made, and how many of them gave something else than -1. A failure tells the
    round's seed, and for each process its number and its last call.
    """
    before = audit.baseline(guest)
    made = good = 0
    while made < calls:
        try:
            output = guest.run(f"fuzz {seed} {each}", timeout=timeout)
            done = DONE.search(output)
            if not done:
                raise guest.fail("fuzz did not say what it has done")
            audit.check(guest, before)
        except GuestFailure as failure:
            lines = "\n".join(last_calls(guest))
            raise GuestFailure(f"round with seed {seed}: {failure}\n{lines}") from None
        made += int(done[1])
        good += int(done[2])
        seed += 1
    return made, good


def last_calls(guest: Guest) -> Iterator[str]:
    """For each process of a fuzz that still is in memory: pid, number, and its last call."""
    kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
    found = Elf(str(PROGRAM)).variable("area")
    names = failpoint.calls()
    slot = struct.Struct("<i4xQQQ6Q")
    for p in Processes(kernel).used:
        if p.name != "fuzz" or p.root is None or found is None:
            continue
        try:
            data = read_user(kernel, p.root, found[0], 4096)
        except GuestError:
            continue
        for at in range(48, 48 + 48 * slot.size, slot.size):
            pid, number, count, call, *args = slot.unpack_from(data, at)
            if pid:
                listed = ", ".join(f"{a:#x}" for a in args)
                name = names.get(call, str(call))
                yield f"  pid {pid} (number {number:#x}, call {count}): {name}({listed})"
        return


def check_disk(guest: Guest) -> None:
    """Ends the guest as a power cut does; the disk must be sound, but for files removed while open."""
    guest.kill()
    done = subprocess.run([tree.FSCK, guest.image], capture_output=True, text=True, timeout=60)
    bad = [line for line in done.stdout.splitlines() if "an orphan" not in line]
    assert not bad and done.returncode in (0, 1), bad + [done.stderr]
