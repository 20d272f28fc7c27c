"""Locks of a system call: each one as it is taken, and those it comes back with.

Relies on the guest's acquire() and release(), at which watch.py stops it, and on a guest doing once more what
another did when it is given the same commands.
"""

from __future__ import annotations

from contextlib import closing
from typing import Callable, ContextManager

from tools.guest import GuestError
from tools.guest.stack import Frame
from tools.submit.session import Given, Session, Unanswered
from tools.submit.stub import CODE
from tools.submit.watch import Lost, frames_at, passing

Held = dict[int, list[Frame]]  # a lock's address -> where it was taken, innermost first
SUSPECTS = "map_shared_pages", "unmap_shared_pages"


def locking(
    g: Session,
    function: str,
    start: Callable[[], None],
    ended: Callable[[], bool],
    took: Callable[[int, Held], None] = lambda lock, held: None,
    caller: str = "",
) -> tuple[Held, bool]:
    """Follows one call of a kernel function, which start() leads to: the locks it holds at its end, and whether that is
    its return. Else it takes what it holds already, which alone is told then, or is not back before ended(), or the
    tree has no such functions.

    took(lock, held) is told of each lock it takes, the last of `held`. caller: a kernel function from whose entry on
    one looks as well, for a call that has long been made and sleeps.
    """
    symbols = g.kernel.elf.symbols
    held: Held = {}
    if not {function, "acquire", "release"} <= set(symbols):
        return held, False
    entry, acquire, release = (symbols[n].address for n in (function, "acquire", "release"))
    start_at = symbols[caller].address if caller in symbols else entry
    watched = [(CODE, acquire, 4), (CODE, release, 4)]
    points = [(CODE, at, 4) for at in dict.fromkeys((entry, start_at))]
    try:
        with closing(passing(g, points, start, ended)) as stops:
            for stub, stop in stops:
                registers = stub.registers(stop.hart)
                pc, lock = registers["pc"], registers["a0"]
                if pc == entry:
                    points[:] = [(CODE, registers["ra"], 4), *watched]
                elif pc == start_at:
                    points[:] = [(CODE, entry, 4), *watched]
                elif pc == release:
                    held.pop(lock, None)
                elif pc != acquire:
                    return held, True
                else:
                    frames = frames_at(g, stub, stop)
                    if all(f.function != function for f in frames):
                        continue  # an interrupt's, or another call's
                    if lock in held:
                        return {lock: held[lock]}, False
                    held[lock] = frames
                    took(lock, held)
    except Lost:
        pass
    return {}, False


def keeper(
    seen: Session, another: Callable[[], ContextManager[Session]], function: str = ""
) -> list[Frame]:
    """Where a guest took the lock that it has trouble with: in the kernel function in which it stopped, if it did in
    one, or in the last mapping or unmapping that came back with a lock. Empty if none did.

    The guest stays as it is: the calls are watched in another() one, as that one was at first.
    """
    named = {f"c {seen.coded(name, ())}": seen.numbers.function(name) for name in seen.numbers}
    calls = [named.get(" ".join(given.command.split()[:2]), "") for given in seen.given]
    suspects = {seen.numbers.function(name) for name in SUSPECTS}
    tries = [(len(calls), function, calls[-1])] if function and calls else []
    for at in range(len(calls), 0, -1):
        if calls[at - 1] in suspects and (at, calls[at - 1]) not in [t[:2] for t in tries]:
            tries.append((at, calls[at - 1], ""))
    for at, where, caller in tries:
        with another() as g:
            frames = _kept(g, seen.given[:at], where, caller)
        if frames:
            return frames
    return []


def _kept(g: Session, given: list[Given], function: str, caller: str) -> list[Frame]:
    """Where the lock is taken, the last of them, that the last of the commands keeps."""
    *before, last = given
    try:
        g.repeat(before)
        g.quiet()
        held, _ = locking(
            g,
            function,
            lambda: g.post(last.actor, last.command),
            lambda: g.answered(last.actor),
            caller=caller,
        )
    except (Unanswered, GuestError):
        return []
    return list(held.values())[-1] if held else []
