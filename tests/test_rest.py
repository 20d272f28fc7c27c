"""What every guest test ends with, shown to work: a word changed in a quiet guest's memory is found by the audit."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness import expression, memory
from tests.harness.guest import Boot, Guest
from tools.guest import open_guest
from tools.guest.memory import RAM_BASE


def place(guest: Guest, text: str) -> tuple[int, int]:
    """Offset in the RAM file, and size, of a variable's part like proc[1].pins; [] follows pointers."""
    kernel = open_guest(str(guest.kernel), ram=str(guest.ram))
    address, size = expression.place(
        kernel.elf, text, lambda at: int.from_bytes(kernel.read(at, 8), "little")
    )
    pa = kernel.to_pa(address)
    assert pa is not None
    return pa - RAM_BASE, size


@contextmanager
def poked(guest: Guest, text: str, change: int) -> Iterator[None]:
    """Adds to a variable of a guest that stands still, and takes it away again."""
    at, size = place(guest, text)
    with open(guest.ram, "r+b") as ram:
        ram.seek(at)
        old = ram.read(size)
        ram.seek(at)
        ram.write(
            ((int.from_bytes(old, "little") + change) % (1 << 8 * size)).to_bytes(size, "little")
        )
        ram.flush()
        yield
        ram.seek(at)
        ram.write(old)


CHANGES = [
    ("shmem_queue.count", 1, "shmem_queue.count"),
    ("shmem_queue.service[3].request.src_pid", 9, "serves pid 9"),
    ("proc[0].crypto.open", 1, "crypto requests open"),
    ("proc[1].pins", 1, "is pinned"),
    ("log.running", 1, "log.running"),
    ("log.next_ticket", 1, "is still waited for"),
    ("ftable.file[5].ref", 1, "descriptors name it"),
    ("itable.slot[700].ref", 1, "refer to it"),
    ("bcache.buf[9].refs", 1, "users, not"),
    ("bcache.waiting", 1, "bcache.waiting"),
    ("kmem.lock.locked", 1, "kmem.lock is held"),
    ("kmem.freelist", 1, "is lost|free list"),
]


def test_each_account_is_checked(boot: Boot) -> None:
    """Each word of the kernel's books that is made wrong gives a line, and no other word does."""
    guest = boot(cpus=1)
    guest.run("usertests crypto_round_trip", timeout=600)
    guest.signal_qemu(signal.SIGSTOP)
    try:
        assert memory.inspect(guest) == set()
        for text, change, expected in CHANGES:
            with poked(guest, text, change):
                found = memory.inspect(guest)
            assert found and all(re.search(expected, line) for line in found), (text, found)
        assert memory.inspect(guest) == set()
    finally:
        guest.signal_qemu(signal.SIGCONT)


@pytest.mark.parametrize("debug", [False, True])
def test_a_busy_guest_comes_to_rest(boot: Boot, debug: bool) -> None:
    """Processes that sleep with files open, and a removed file in use, add up too."""
    guest = boot(cpus=3, debug=debug, audited=False)  # the shells stay
    guest.run("sh -c 'echo text > f; (rm f; sleep 100000) < f & sleep 100000 | cat > g &'")
    memory.check(guest)
