"""Watching a word of a guest's memory, or an instruction: who comes by, and from where.

Relies on QEMU's stub (stub.py) to stop the guest and on tools/guest for the backtraces.
"""

from __future__ import annotations

from typing import Callable, Generator, Optional

from tools.guest import GuestError, read_table
from tools.guest.stack import Frame, kernel_frames
from tools.submit.session import Actor, Patience, Session
from tools.submit.stub import READ, WRITE, Stop, Stub

PATIENCE = 6.0  # seconds of guest time without a stop and without the end waited for
MOST = 500  # stops looked at
Stops = Generator[tuple[Stub, Stop], None, None]
TURN = 0.2  # seconds of real time between two looks at the console
FILLERS = {"memset", "kfree", "kalloc"}  # touch a frame whatever it held


class Lost(Exception):
    """The guest came to neither a stop nor the end."""


def passing(
    g: Session,
    points: list[tuple[str, int, int]],
    start: Callable[[], None],
    ended: Callable[[], bool],
) -> Stops:
    """The stops at `points` (kind, address, size) from start() until ended(). Raises Lost.

    A watchpoint stops before its access. The guest goes on when the next stop is asked for, or,
    unwatched, when the iteration is closed. `points` may be changed between two stops.
    """
    stub = Stub(str(g.machine.folder / "gdb"))
    stopped, there = True, list(points)
    before = g.hand_over

    def hand_over() -> None:
        for point in there:
            stub.remove(*point)
        stub.socket.close()  # the guest stays stopped where it is

    g.hand_over = hand_over
    try:
        for point in there:
            stub.insert(*point)
        start()
        for _ in range(MOST):
            stopped = False
            stop = _next(g, stub, ended)
            if stop is None:
                return
            stopped = True
            yield stub, stop
            for point in there:
                stub.remove(*point)
            stub.step(stop.hart)
            there = list(points)
            for point in there:
                stub.insert(*point)
        raise Lost(f"more than {MOST} stops")
    finally:
        g.hand_over = before
        _leave(stub, there, stopped)


def _leave(stub: Stub, points: list[tuple[str, int, int]], stopped: bool) -> None:
    """Takes the points away and lets the guest run."""
    try:
        if not stopped:
            stub.interrupt()
        for point in points:
            stub.remove(*point)
        stub.close()
    except (GuestError, OSError):
        stub.socket.close()


def _next(g: Session, stub: Stub, ended: Callable[[], bool]) -> Optional[Stop]:
    patience = Patience(g.machine, PATIENCE)
    stop = stub.resume(TURN)
    while stop is None:
        g.machine.pump(0.0)
        if ended() or g.machine.panic is not None:
            return None
        if patience.over():
            raise Lost("nothing comes by")
        stop = stub.wait(TURN)
    return stop


def frames_at(g: Session, stub: Stub, stop: Stop) -> list[Frame]:
    """Where a stopped hart is in the kernel, innermost first."""
    return kernel_frames(g.kernel, None, stub.registers(stop.hart))


def entry_address(g: Session, pid: int, va: int) -> Optional[int]:
    """Where the kernel sees the page-table entry of a process's page."""
    process = g.glance().process(pid)
    if process is None or process.root is None:
        return None
    table = read_table(g.kernel.memory, process.root, "user")
    for page in table.pages.values():
        if page.level == 0 and page.va == va & ~((1 << 21) - 1):
            return page.pa + (va >> 12 & 511) * 8 + g.kernel.direct
    return None


def releaser(g: Session, actor: Actor, va: int) -> list[Frame]:
    """Who handles the entry of a page last while its process leaves and is reaped: the function
    that decides what becomes of its frame. Empty if that cannot be seen. The guest is used up.
    """
    where = entry_address(g, actor.pid, va)
    if where is None:
        return []
    last: dict[bool, list[Frame]] = {}  # by: was it a write?

    def leave() -> None:
        actor.exit()
        g.post(0, "W")

    def reaped() -> bool:
        return g.answered(0)

    try:
        for stub, stop in passing(g, [(READ, where, 8), (WRITE, where, 8)], leave, reaped):
            frames = frames_at(g, stub, stop)
            if frames and not FILLERS & {frames[0].function}:
                last[stop.kind == WRITE] = frames
    except Lost:
        return []
    return last.get(True) or last.get(False) or []
