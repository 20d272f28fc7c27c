"""Probes that stop the guest in the middle of an instruction stream, by watchpoints of QEMU's stub."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import Callable, Iterator, Optional

from tools.guest import Process, Processes
from tools.guest.elf import Elf
from tools.guest.locks import find_locks
from tools.submit.build import as_written
from tools.submit.lab import LOOP
from tools.submit.look import Glance, Look
from tools.submit.probes.base import PAGE, Bench, Probe, one_mapping, rounded
from tools.submit.probes.server import DECRYPT, HEADER, INIT, KEY, POLL, WORK, at_rest, book
from tools.submit.probes.server import gone as is_gone
from tools.submit.probes.server import is_idle, one_request, peek, server_faults, until_idle
from tools.submit.probes.static import fences_of
from tools.submit.session import SERVER, Actor, Session
from tools.submit.stub import CODE, READ, WRITE, Stop, Stub
from tools.submit.watch import Lost, Stops, frames_at, passing

TAKE = "sys_take_shared_memory_request"
GIVE_BACK = "sys_remove_shared_memory_request"
DATA = 256  # bytes of a watched request
FEW = 16  # of one of which each store is watched
MORE = 512  # bytes the client adds to data_size while the server works


def unlocked_reads(bench: Bench) -> None:
    """Who reads another process's fields during map_shared_pages, and does he hold any lock then? From the
    parent, which may be found without a search, and from the child; the other is the source, or where one may also
    map into another, the destination. Where no pid is given, the parent is the source, and who that is may change too.
    """
    order = bench.shape.map_order or ()
    with bench.guest() as (g, calls):
        child = g.fork(1)
        look = g.quiet()
        pairs = (g.main, child), (child, g.main)
        named = [role for role in ("src", "dst") if role in order]
        ways = [(pair, role) for role in named for pair in pairs] or [(pairs[0], "parent")]
        for (src, dst), role in ways:
            by, other = (src, dst) if role == "dst" else (dst, src)
            process, own = look.process(other.pid), look.process(by.pid)
            if process is None or own is None:
                bench.undecided("K1", "there is no second process")
                return
            fields = [process.record.type.find(name) for name in ("pid", "pagetable", "sz")]
            points = [(READ, process.address + f.offset, f.type.size) for f in fields if f]
            if role == "parent" and (f := own.record.type.find("parent")):
                points.append((READ, own.address + f.offset, f.type.size))
            try:
                arguments = calls.map_arguments(order, src, dst, g.arena, 64)
                if _reads_unlocked(bench, g, by, arguments, points):
                    return
            except Lost as lost:
                bench.undecided("K1", f"the watched call does not come back: {lost}")
                return


def _reads_unlocked(
    bench: Bench, g: Session, by: Actor, arguments: list[int], watched: list[tuple[str, int, int]]
) -> bool:
    """Does anybody without a lock read what is `watched` while `by` maps?"""
    call = g.numbers.function("map_shared_pages")
    symbol = g.kernel.elf.symbols.get(call)
    if symbol is None:
        bench.undecided("K1", f"there is no {call}")
        return False
    points = [(CODE, symbol.address, 4)]
    stops = passing(
        g,
        points,
        lambda: g.post(by.index, "c " + g.coded("map_shared_pages", tuple(arguments))),
        lambda: g.answered(by.index),
    )
    end = 0
    with closing(stops):
        for stub, stop in stops:
            registers = stub.registers(stop.hart)
            pc = registers["pc"]
            if pc == symbol.address:
                end = registers["ra"]
                points[:] = [(CODE, end, 4), *watched]
            elif pc == end:
                return False
            elif stop.kind == READ and _is_unlocked(bench, g, stub, stop):
                return True
    return False


def _is_unlocked(bench: Bench, g: Session, stub: Stub, stop: Stop) -> bool:
    frames = frames_at(g, stub, stop)
    names = [f.function for f in frames]
    if g.numbers.function("map_shared_pages") not in names:
        return False
    guarded = _held_for(g, stop)
    if guarded is None:
        return False
    text = " < ".join(f"{f.function} ({f.line[0]}:{f.line[1]})" for f in frames[:3] if f.line)
    running = Processes(g.kernel).harts[stop.hart].process
    own = running is not None and _within(running, stop.watched or 0)
    bench.find(
        "K1",
        f"{names[0]} reads {'who its own parent is' if own else 'a field of another process'} with "
        f"{'only locks of others' if guarded else 'no lock'} held.",
        [
            f"at {text}",
            (
                f"all that hart {stop.hart} holds there: {', '.join(guarded)}"
                if guarded
                else f"hart {stop.hart} holds no lock there: its noff is 0"
            ),
        ],
        function=names[0] or "",
        line=frames[0].line,
    )
    return True


def _held_for(g: Session, stop: Stop) -> Optional[list[str]]:
    """Locks that a hart holds at a read of a process's field, if none of them can be meant for it: all lie in the
    slots of other processes. None if one may be, or if not all that it holds are known.
    """
    processes = Processes(g.kernel)
    hart = processes.harts[stop.hart]
    if hart.interrupts_off == 0:
        return []
    held = [k for k in find_locks(processes) if k.kind == "spin" and k.held and k.holder is hart]
    if len(held) != hart.interrupts_off:
        return None
    others = [p for p in processes.slots if not _within(p, stop.watched or 0)]
    if not all(any(_within(p, k.address) for p in others) for k in held):
        return None
    return [k.expression for k in held]


def _within(process: Process, address: int) -> bool:
    """Does an address lie in a process's slot of the table?"""
    return process.address <= address < process.address + process.record.type.size


def at_server(stop: Stop, g: Session) -> bool:
    """Is it the server who came by?"""
    process = Processes(g.kernel).harts[stop.hart].process
    return process is not None and process.pid == SERVER


def posted(g: Session, va: int, size: int) -> Callable[[], None]:
    """What posts a request of the first actor."""
    return lambda: g.post(0, "c " + g.coded("crypto_op", (va, size)))


def served(bench: Bench, g: Session) -> Callable[[], bool]:
    """What tells whether a request posted now has been seen to: the server waits again and has had time to look."""
    until = g.machine.time() + (POLL if bench.shape.server_polls else 0)

    def done() -> bool:
        idle = g.answered(0) and is_idle(bench, Glance(g.kernel))
        return idle and g.machine.time() >= until

    return done


def _request_at(bench: Bench, g: Session) -> int:
    """Where the server will have the next request, if that begins with a page."""
    return bench.shape.window or rounded(at_rest(bench, g).size(SERVER))


def _at_work(bench: Bench, g: Session, size: int) -> Stops:
    """Where the server stores in the middle of the data of a request of `size` bytes at the arena."""
    start = len(KEY) + HEADER.size
    g.main.write(g.arena, HEADER.pack(DECRYPT, INIT, len(KEY), size - start) + KEY)
    target = _request_at(bench, g) + start + (size - start) // 2
    with closing(
        passing(g, [(WRITE, target, 1)], posted(g, g.arena, size), lambda: False)
    ) as stops:
        for stub, stop in stops:
            if at_server(stop, g):
                yield stub, stop
                return


def changing_sizes(bench: Bench) -> None:
    """The client makes data_size larger while the server is in the middle of the data. The server is
    compiled as it is written: an optimiser may or may not spare it the second look.
    """
    folder = bench.lab.build.tree.root.parent / "as-written"
    program = as_written(bench.lab.build, "crypto_srv", folder)
    if program is None:
        bench.undecided("C9", "crypto_srv can't be compiled without optimisation")
        return
    with bench.guest(image=bench.lab.make_image({"crypto_srv": program})) as (g, _):
        start = len(KEY) + HEADER.size
        g.main.fill(g.arena + start, DATA + MORE, 1)
        page = g.quiet().page(g.main.pid, g.arena)
        if page is None:
            return
        before, pa = b"", 0
        try:
            with closing(_at_work(bench, g, start + DATA)) as moments:
                for _ in moments:
                    pa = page.pa
                    before = g.machine.memory.read(pa + start + DATA, MORE)
                    size = (DATA + MORE).to_bytes(8, "little")
                    g.machine.memory.write(pa + 16, size)  # data_size, in the header
        except Lost:
            pass
        if not pa:
            bench.undecided("C9", "the server was not seen at work")
            return
        if lines := _worked(bench, g, pa, before):
            _reads_again(bench, "in its middle", lines)
        elif bench.found("C6", "C8"):
            bench.undecided("C9", "the server does not live through a good request")


def _worked(bench: Bench, g: Session, pa: int, before: bytes) -> list[str]:
    """What tells that the server works on bytes beyond those that were announced first, or that it ends over them;
    nothing if it does not. pa: of the request; before: those bytes.
    """
    end = g.until(lambda k: is_idle(bench, k) or bool(server_faults(g)), 8.0)
    after = g.machine.memory.read(pa + len(KEY) + HEADER.size + DATA, MORE)
    worked = sum(a != b for a, b in zip(before, after))
    late = (server_faults(g) or end is None) and not bench.found("C6", "C8")
    lines = [f"bytes changed beyond the first {DATA}: {worked}", *server_faults(g)]
    return lines if worked or late else []


def _reads_again(
    bench: Bench, when: str, lines: list[str], line: Optional[tuple[str, int]] = None
) -> None:
    call = (
        f"a request with {DATA} bytes of data; {when} the client sets data_size to "
        f"{DATA + MORE} (crypto_srv compiled with -O0, so that each access in its source is one)"
    )
    book(bench, "C9", "The server reads data_size again while it works.", [call, *lines], line)


READS = 5  # the server's looks at data_size, before each of which it is changed once


def read_again(bench: Bench) -> None:
    """The client makes data_size larger between two of the server's looks at it: what was checked is not what is used.
    Where the larger size, set from the start, is not refused, that says nothing.
    """
    folder = bench.lab.build.tree.root.parent / "read-again"
    program = as_written(bench.lab.build, "crypto_srv", folder)
    if program is None or bench.found("C6", "C8", "C9"):
        return
    image = bench.lab.make_image({"crypto_srv": program})
    for looks in range(1, READS + 1):
        with bench.guest(image=image) as (g, _):
            start = len(KEY) + HEADER.size
            g.main.fill(g.arena + start, DATA + MORE, 1)
            g.main.write(g.arena, HEADER.pack(DECRYPT, INIT, len(KEY), DATA) + KEY)
            page = g.quiet().page(g.main.pid, g.arena)
            if page is None:
                return
            before = g.machine.memory.read(page.pa + start + DATA, MORE)
            at = _looks(bench, g, looks, start + DATA, page.pa + 16)
            if at is None:
                return
            if lines := _worked(bench, g, page.pa, before):
                if looks > 1:
                    when = f"before look {looks} of the server's at it"
                    _reads_again(bench, when, lines, Elf(str(program)).line(at))
                return


def _looks(bench: Bench, g: Session, looks: int, size: int, where: int) -> Optional[int]:
    """Posts a request of the arena. The address of the server's instruction at the given one of its looks at data_size,
    before which that is made larger; None if there are fewer. where: data_size, in memory.
    """
    points = [(READ, _request_at(bench, g) + 16, 8)]
    try:
        with closing(passing(g, points, posted(g, g.arena, size), served(bench, g))) as stops:
            for stub, stop in stops:
                looks -= at_server(stop, g)
                if looks == 0:
                    g.machine.memory.write(where, (DATA + MORE).to_bytes(8, "little"))
                    return stub.registers(stop.hart)["pc"]
    except Lost:
        pass
    return None


@contextmanager
def server_held(bench: Bench, g: Session) -> Iterator[bool]:
    """Keeps the server at one instruction, in the middle of a request: that becomes a jump to
    itself. False if it was not seen at work.
    """
    size = len(KEY) + HEADER.size + DATA
    code, original = 0, b""
    try:
        with closing(_at_work(bench, g, size)) as moments:
            for stub, stop in moments:
                pc = stub.registers(stop.hart)["pc"]
                page = Look(g.kernel).page(SERVER, pc)
                if page is not None:
                    code = page.pa + pc % PAGE
                    original = g.machine.memory.read(code, len(LOOP))
                    stub.store(code, LOOP)
    except Lost:
        pass
    yield bool(original)
    if original:
        stub = Stub(str(g.machine.folder / "gdb"))
        stub.store(code, original)
        stub.close()


SLOTS = 16  # of the given queue
SMALL = HEADER.pack(DECRYPT, INIT, 4, 8) + b"keysdatadata"


def full_queue(bench: Bench) -> None:
    """As many requests as the queue has slots while the server is busy, beginning with slot 0: the
    given test for a full queue is wrong only there.
    """
    with bench.guest() as (g, _):
        first = g.arena + PAGE
        for i in range(SLOTS):
            g.main.write(first + i * 64, SMALL)
        g.main.ask("s 0 " + g.coded("crypto_op", (first, len(SMALL))))
        if not bench.shape.server_idle:
            indices = _fill(g)
            if indices:
                _lost(bench, SLOTS, indices, "no server runs")
            return
        g.main.ask(f"l {SLOTS - 1:x} 1 40")
        if until_idle(bench, g, 4 * WORK) is None:
            bench.undecided("Q1", f"{SLOTS - 1} requests are not served")
            return
        for i in range(SLOTS):
            g.main.write(first + i * 64, SMALL)
        with server_held(bench, g) as held:
            indices = _fill(g) if held else []
        if not held:
            _unserved(bench)
            return
        look = until_idle(bench, g, 4 * WORK) or g.look()
        lost = [peek(g, look, first + i * 64, 8)[4] for i in range(SLOTS)].count(INIT)
        if indices and lost:
            _lost(bench, lost, indices, f"then the server goes on, and {lost} are still INIT")


def _unserved(bench: Bench) -> None:
    """As many requests as there are slots, with a server of ours that takes none."""
    if not {TAKE, GIVE_BACK} <= {f"sys_{name}" for name in bench.lab.numbers}:
        bench.undecided("Q1", "the server was not seen at work")
        return
    with bench.guest(image=bench.lab.stand_in()[1]) as (g, _):
        for i in range(SLOTS):
            g.main.write(g.arena + PAGE + i * 64, SMALL)
        g.main.ask("s 0 " + g.coded("crypto_op", (g.arena + PAGE, len(SMALL))))
        if indices := _fill(g):
            _lost(bench, SLOTS, indices, "no server takes them meanwhile")


def _fill(g: Session) -> list[str]:
    """Queues as many requests as there are slots. What the indices are if they are equal then and
    nothing else in the queue tells how many wait; empty if so, or if the client has to sleep.
    """
    g.post(0, f"l {SLOTS:x} 1 40")
    g.settle(1.0)  # by then all are in, or the client sleeps for room
    look = g.quiet()
    indices = {n: v for n, v in look.queue.items() if n.endswith("idx")}
    told = any(v for n, v in look.queue.items() if n in ("count", "size", "full", "used", "num"))
    same = len(indices) > 1 and len(set(indices.values())) == 1 and not told
    all_in = g.answered(0)
    return [f"{n} is {v}" for n, v in indices.items()] if same and all_in else []


def _lost(bench: Bench, lost: int, indices: list[str], then: str) -> None:
    bench.find(
        "Q1",
        f"{lost} of {SLOTS} requests queued at once are never served: with {SLOTS} in the queue its "
        "indices are equal, which means empty.",
        [f"after {SLOTS} requests, while the server is busy: {', '.join(indices)}", then],
    )


def leaver(bench: Bench) -> None:
    """A client that has exited and been reaped before the server takes its request."""
    if bench.found("C6", "C8"):
        bench.undecided("Q3", "the server does not live through a good request")
        return
    with bench.guest() as (g, _):
        small = g.arena + 2 * PAGE
        with server_held(bench, g) as held:
            if not held:
                bench.undecided("Q3", "the server was not seen at work")
                return
            client = g.fork(1)
            client.write(small, HEADER.pack(DECRYPT, INIT, len(KEY), 16) + KEY + bytes(16))
            asked = bench.attempt(
                g, lambda: client.call("crypto_op", small, HEADER.size + len(KEY) + 16)
            )
            gone = bench.farewell(g, client) if asked.answer else asked
        call = f"a client asks while the server is busy, and exits: {asked}"
        if gone.error or asked.value < 0:
            bench.undecided("Q3", f"{call}; {gone}")
            return
        look = until_idle(bench, g)
        if g.machine.panic is not None:
            panic = bench.attempt(g, lambda: g.main.call("getpid"))
            id = "K2" if panic.lock_panic else "X4"
            text = "The request of a client that has gone stops the kernel."
            taking = (f.line for f in panic.frames if f.function == TAKE and f.line)
            bench.find(id, text, [call, str(panic)], line=next(taking, None))
            bench.undecided("Q3", "the kernel panics")
        elif look is None or is_gone(look) or server_faults(g):
            if bench.found("X1") and "ffffffffffff" in " ".join(server_faults(g)):
                bench.undecided("Q3", "hidden by X1: what fails to be mapped is not refused")
                return
            how = "does not come back" if look is None else "is gone"
            text = f"After the request of a client that has gone, the server {how}."
            bench.find("Q3", text, [call, *server_faults(g)])
            quietly = look is not None and is_gone(look) and not server_faults(g)
            if quietly and g.until(lambda k: is_idle(bench, k), WORK) is None:
                text = "A take that fails ends the server, and no other is started."
                book(bench, "C8", text, [call, f"{WORK:.0f} s later pid 2 is still gone"])


GOOD = HEADER.pack(DECRYPT, INIT, len(KEY), FEW)
ASKED = {  # requests, each of which may have its own way to a state
    "a good request": GOOD,
    "type 77": HEADER.pack(77, INIT, len(KEY), FEW),
    "a key of size 0": HEADER.pack(DECRYPT, INIT, 0, FEW),
    "data of 1 MiB": HEADER.pack(DECRYPT, INIT, len(KEY), 1 << 20),
    "state 9": HEADER.pack(DECRYPT, 9, len(KEY), FEW),
}


def fences(bench: Bench) -> None:
    """Does the server pass a fence on its way from the data to the state that announces them?"""
    path = bench.lab.build.programs["crypto_srv"]
    barriers = fences_of(bench, path)
    if not barriers:
        book(
            bench,
            "C5",
            "The server has no fence: nothing orders the data before the state that announces them.",
            [f"{path.name}: no instruction in it is a fence"],
            _unfenced(bench, [], GOOD)[1],
        )
        return
    for what, header in ASKED.items():
        seen, where = _unfenced(bench, barriers, header)
        if where is not None:
            state = "DONE" if header is GOOD else "ERROR"
            text = f"The server sets the state to {state} without a fence before it."
            since = " since the data were last written" if header is GOOD else ""
            book(
                bench,
                "C5",
                text,
                [f"{what}: stored at {where[0]}:{where[1]}; no fence{since}"],
                where,
            )
        elif header is GOOD and not seen:
            bench.undecided("C5", "the server was not seen to set a state")


def _unfenced(
    bench: Bench, barriers: list[int], header: bytes
) -> tuple[bool, Optional[tuple[str, int]]]:
    """Was the server seen to store to the request's state? File and line of that if there was no barrier between it and
    the last store to the data, or since the request was there if none of them changes.
    """
    elf = Elf(str(bench.lab.build.programs["crypto_srv"]))
    with bench.guest() as (g, _):
        size = HEADER.size + len(KEY) + FEW
        g.main.write(g.arena, header + KEY)
        request = _request_at(bench, g)
        state, data = request + 4, request + HEADER.size + len(KEY)

        points = [(WRITE, state, 4), (WRITE, data, FEW), *((CODE, at, 4) for at in barriers)]
        stops = passing(
            g,
            points,
            posted(g, g.arena, size),
            served(bench, g),
        )
        passed = False
        try:
            with closing(stops):
                for stub, stop in stops:
                    if not at_server(stop, g):
                        continue
                    pc = stub.registers(stop.hart)["pc"]
                    if stop.kind == CODE:
                        passed = True
                    elif stop.watched == data:
                        passed = False
                    else:
                        return True, None if passed or pc in barriers else elf.line(pc)
        except Lost:
            pass
    return False, None


PROBES = [
    Probe("unlocked reads", ("K1",), ("map",), unlocked_reads, observable=False, scene=one_mapping),
    Probe(
        "changing sizes", ("C9",), ("server",), changing_sizes, observable=False, scene=one_request
    ),
    Probe(
        "sizes read again",
        ("C9",),
        ("server",),
        read_again,
        stage=3,
        observable=False,
        scene=one_request,
    ),
    Probe("full queue", ("Q1",), ("queue",), full_queue, observable=False, scene=one_request),
    Probe(
        "client leaves",
        ("Q3", "C8"),
        ("server",),
        leaver,
        stage=4,
        observable=False,
        scene=one_request,
    ),
    Probe("fences", ("C5",), ("server",), fences, observable=False, scene=one_request),
]
