"""Locks of a system call: each one as it is taken, and those it comes back with.

Relies on the guest's acquire() and release(), at which watch.py stops it, and on a guest doing once more what
another did when it is given the same commands.
"""

from __future__ import annotations

from contextlib import closing
from typing import Callable, ContextManager, Optional

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
) -> Optional[Held]:
    """Follows one call of a kernel function, which start() leads to, and says what it holds when it returns.

    took(lock, held) is told of each lock it takes, the last of `held`. None if the call does not come back before
    ended(), or the tree has no such functions.
    """
    symbols = g.kernel.elf.symbols
    if not {function, "acquire", "release"} <= set(symbols):
        return None
    entry, acquire, release = (symbols[n].address for n in (function, "acquire", "release"))
    points = [(CODE, entry, 4)]
    held: Held = {}
    try:
        with closing(passing(g, points, start, ended)) as stops:
            for stub, stop in stops:
                registers = stub.registers(stop.hart)
                pc, lock = registers["pc"], registers["a0"]
                if pc == entry:
                    points[:] = [(CODE, at, 4) for at in (acquire, release, registers["ra"])]
                elif pc == release:
                    held.pop(lock, None)
                elif pc != acquire:
                    return held
                else:
                    frames = frames_at(g, stub, stop)
                    if any(f.function == function for f in frames):  # else an interrupt's
                        held.pop(lock, None)
                        held[lock] = frames
                        took(lock, held)
    except Lost:
        pass
    return None


def keeper(seen: Session, another: Callable[[], ContextManager[Session]]) -> list[Frame]:
    """Where the last mapping or unmapping of a guest took the lock that it came back with; empty if it came back
    with none. The guest stays as it is: the call is watched in another() one, as that one was at first.
    """
    calls = {f"c {seen.coded(name, ())}": name for name in SUSPECTS if name in seen.numbers}
    for at in reversed(range(len(seen.given))):
        name = calls.get(" ".join(seen.given[at].command.split()[:2]))
        if name:
            with another() as g:
                return _kept(g, seen.given[: at + 1], seen.numbers.function(name))
    return []


def _kept(g: Session, given: list[Given], function: str) -> list[Frame]:
    """The lock taken last of those that the last of the commands keeps."""
    last = given[-1]
    try:
        g.repeat(given[:-1])
        g.quiet()
        held = locking(
            g, function, lambda: g.post(last.actor, last.command), lambda: g.answered(last.actor)
        )
    except (Unanswered, GuestError):
        return []
    return list(held.values())[-1] if held else []
