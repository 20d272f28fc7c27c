"""What must hold in any quiet guest: no frame lost, the crypto server at work.

Relies on the guest's own `free` and `ps`, and on the memory file (memory.py).
"""

from __future__ import annotations

from tests.harness import memory
from tests.harness.guest import Guest

SETTLE = 20  # looks before a difference counts: init may still be reaping orphans


def free_frames(guest: Guest) -> int:
    """Free frames, as `free -q` prints them."""
    return int(guest.run("free -q"))


def processes(guest: Guest) -> dict[int, list[str]]:
    """The rows of `ps` by pid, each split into words: pid, parent, state, ..., name."""
    rows = [line.split() for line in guest.run("ps").splitlines()[1:]]
    return {int(row[0]): row for row in rows}


def baseline(guest: Guest) -> int:
    """Free frames of a guest that has just booted: init and the server have settled down to wait.

    Without that, what they allocate while they start would look lost later.
    """
    for _ in range(SETTLE):
        there = processes(guest)
        if all(pid in there and there[pid][2] == "sleeping" for pid in (1, 2)):
            return free_frames(guest)
    raise guest.fail("init and crypto_srv do not come to rest")


def check(guest: Guest, before: int) -> None:
    """Raises GuestFailure unless the guest is as sound as when it had `before` free frames."""
    from_inside(guest, before)
    memory.check(guest)


def from_inside(guest: Guest, before: int) -> None:
    """The part of check() that the guest's own commands can tell."""
    guest.run("echo", status=None)  # passes over what the test left typed ahead or unread
    now = -1
    for _ in range(SETTLE):
        now = free_frames(guest)
        if now >= before:
            break
    there = processes(guest)
    if now < before:  # more is no leak: at boot something was still on its way to its end
        lost = f"{before - now} frames lost: {before} were free after boot, {now} are now"
        raise guest.fail(lost)
    if 2 not in there or there[2][-1] != "crypto_srv":
        raise guest.fail("no crypto_srv with pid 2")
