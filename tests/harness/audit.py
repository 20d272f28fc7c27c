"""What must hold in any quiet guest: no frame lost, the crypto server at work.

Relies on the guest's own `free` and `ps`, and on the memory file (memory.py).
"""

from __future__ import annotations

from tests.harness import memory
from tests.harness.guest import Guest

SETTLE = (
    20  # looks at the free frames before a difference counts: init may still be reaping orphans
)


def free_frames(guest: Guest) -> int:
    """Free frames, as `free -q` prints them."""
    return int(guest.run("free -q"))


def baseline(guest: Guest) -> int:
    """Free frames of a guest that has just booted, once running a command has warmed its caches."""
    free_frames(guest)
    return free_frames(guest)


def check(guest: Guest, before: int) -> None:
    """Raises GuestFailure unless the guest is as sound as when it had `before` free frames."""
    from_inside(guest, before)
    memory.check(guest)


def from_inside(guest: Guest, before: int) -> None:
    """The part of check() that the guest's own commands can tell."""
    now = -1
    for _ in range(SETTLE):
        now = free_frames(guest)
        if now == before:
            break
    else:
        raise guest.fail(
            f"{before - now} frames lost: {before} were free after boot, {now} are now"
        )
    processes = [line.split() for line in guest.run("ps").splitlines()]
    if not any(row and row[0] == "2" and row[-1] == "crypto_srv" for row in processes):
        raise guest.fail("no crypto_srv with pid 2")
