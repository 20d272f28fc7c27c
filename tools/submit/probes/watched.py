"""Probes that stop the guest in the middle of an instruction stream, by watchpoints of QEMU's stub."""

from __future__ import annotations

from typing import Optional

from tools.guest.stack import Frame, kernel_frames
from tools.submit.look import Look
from tools.submit.probes.base import Bench, Probe, rounded
from tools.submit.probes.server import DECRYPT, HEADER, INIT, KEY, book, is_idle, server_faults
from tools.submit.session import SERVER, Session
from tools.submit.stub import READ, WRITE, Stop, Stub

PATIENCE = 20.0  # seconds of real time for the next stop; without one the id stays undecided
MOST = 200  # stops looked at
DATA = 256  # bytes of a watched request
MORE = 512  # bytes the client adds to data_size while the server works


def unlocked_reads(bench: Bench) -> None:
    """Who reads another process's pid during map_shared_pages, and does he hold any lock then?"""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        look = g.quiet()
        process = look.process(g.main.pid)
        field = process.record.type.find("pid") if process else None
        order = bench.shape.map_order or ()
        if process is None or field is None or "src" not in order:
            bench.undecided("K1", "the source's pid is not looked up here")
            return
        where = process.address + field.offset
        arguments = calls.map_arguments(order, g.main, child, g.arena, 64)
        stub = Stub(str(g.machine.folder / "gdb"))
        try:
            stub.insert(READ, where)
            position = g.post(1, "c " + g.coded("map_shared_pages", tuple(arguments)))
            for _ in range(MOST):
                stop = stub.resume(PATIENCE / 10)
                if stop is None:
                    g.machine.pump(0.01)
                    if b" $" in g.machine.console[position:] or g.machine.panic is not None:
                        return
                    bench.undecided("K1", "the watched call does not come back")
                    return
                if _is_unlocked(bench, g, stub, stop):
                    return
                stub.remove(READ, where)
                stub.step(stop.hart)
                stub.insert(READ, where)
        finally:
            stub.socket.close()


def _is_unlocked(bench: Bench, g: Session, stub: Stub, stop: Stop) -> bool:
    frames = _frames(g, stub, stop)
    names = [f.function for f in frames]
    if "sys_map_shared_pages" not in names:
        return False
    depth = Look(g.kernel).processes.harts[stop.hart].interrupts_off
    if depth != 0:
        return False
    text = " < ".join(f"{f.function} ({f.line[0]}:{f.line[1]})" for f in frames[:3] if f.line)
    bench.find(
        "K1",
        f"{names[0]} reads another process's pid with no lock held.",
        [f"at {text}", f"hart {stop.hart} holds no lock there: its noff is 0"],
        function=names[0] or "",
        line=frames[0].line,
    )
    return True


def _frames(g: Session, stub: Stub, stop: Stop) -> list[Frame]:
    slots = Look(g.kernel).processes.slots
    return kernel_frames(g.kernel, slots[0], stub.registers(stop.hart))


def changing_sizes(bench: Bench) -> None:
    """The client makes data_size larger while the server is in the middle of the data."""
    with bench.guest() as (g, _):
        start = len(KEY) + HEADER.size
        g.main.write(g.arena, HEADER.pack(DECRYPT, INIT, len(KEY), DATA) + KEY)
        g.main.fill(g.arena + start, DATA + MORE, 1)
        look = g.quiet()
        page = look.page(g.main.pid, g.arena)
        target = rounded(look.size(SERVER)) + start + DATA // 2  # where the server will have it
        if page is None:
            return
        before = g.machine.memory.read(page.pa + start + DATA, MORE)
        stub = Stub(str(g.machine.folder / "gdb"))
        try:
            stub.insert(WRITE, target, 1)
            g.post(0, "c " + g.coded("crypto_op", (g.arena, start + DATA)))
            if not _server_writes(g, stub, target):
                bench.undecided("C9", "the server was not seen at work")
                return
            pa = _page_of_server(g, target) or page.pa
            size = (DATA + MORE).to_bytes(8, "little")
            g.machine.memory.write(pa + 16, size)  # data_size, in the header
            stub.remove(WRITE, target, 1)
            stub.close()
        finally:
            stub.socket.close()
        end = g.until(lambda k: is_idle(bench, k) or bool(server_faults(g)), 8.0)
        after = g.machine.memory.read(pa + start + DATA, MORE)
        worked = sum(a != b for a, b in zip(before, after))
        call = f"a request with {DATA} bytes of data; in its middle the client sets data_size to {DATA + MORE}"
        if worked or server_faults(g) or end is None:
            lines = [call, f"bytes changed beyond the first {DATA}: {worked}", *server_faults(g)]
            book(bench, "C9", "The server reads data_size again while it works.", lines)


def _server_writes(g: Session, stub: Stub, target: int) -> Optional[Stop]:
    """Runs until the server stores at `target`; None if that does not happen."""
    for _ in range(MOST):
        stop = stub.resume(PATIENCE / 4)
        if stop is None:
            return None
        now = Look(g.kernel).processes.harts[stop.hart].process
        if now is not None and now.pid == SERVER:
            return stop
        stub.remove(WRITE, target, 1)
        stub.step(stop.hart)
        stub.insert(WRITE, target, 1)
    return None


def _page_of_server(g: Session, va: int) -> Optional[int]:
    page = Look(g.kernel).page(SERVER, va)
    return page.pa if page else None


PROBES = [
    Probe("unlocked reads", ("K1",), ("map",), unlocked_reads),
    Probe("changing sizes", ("C9",), ("server",), changing_sizes),
]
