"""Probes of the crypto server and its queue, from a client's side."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Optional

from tools.guest import GuestError
from tools.guest.elf import Elf
from tools.submit.look import Glance, Look, Page
from tools.submit.probes.base import PAGE, Bench, Outcome, Probe, fault_lines, rounded
from tools.submit.probes.mapping import GUARD, guard_page
from tools.submit.session import SERVER, Session

ENCRYPT, DECRYPT = 1, 2
INIT, DONE, ERROR = 1, 2, 3
STATES = {INIT: "INIT", DONE: "DONE", ERROR: "ERROR"}
HEADER = struct.Struct("<IIQQ")  # struct crypto_op without its payload
KEY = b"OS2024"
DATA = bytes(range(48, 48 + 40))
WORK = 8.0  # seconds of guest time a small request may take
POLL = 0.6  # within which a server that polls looks again


@dataclass
class Served:
    """What became of a request. server: pid 2's process state once it was idle again or gone."""

    outcome: Outcome
    state: int = 0
    data: bytes = b""
    server: Optional[str] = None
    idle: bool = False
    size_before: int = 0
    size_after: int = 0
    window: int = 0  # Shape.window
    pages: int = 0  # of the client left in the server
    stray: tuple[str, ...] = ()  # its new pages that lie above its sz
    faults: tuple[str, ...] = ()  # what the console says of its death

    @property
    def died(self) -> bool:
        """Did the server end, also if the kernel has started a new one since?"""
        return bool(self.faults) or self.server in (None, "ZOMBIE")

    def faulted_in(self, page: int) -> bool:
        """Did it fault in that page of its mapping, or so far behind it?"""
        found = re.search(r"(?:stval|address)[ =:]*(?:0x)?([0-9a-f]+)", " ".join(self.faults))
        at = (self.window or rounded(self.size_before)) + page * PAGE
        return found is not None and at <= int(found[1], 16) < at + PAGE

    @property
    def touched_gone(self) -> bool:
        """Did it fault in the page of the request? It can read and write there as long as it is mapped, if a good
        request does not end it: so the mapping has gone.
        """
        return self.faulted_in(0)

    @property
    def touched_late(self) -> bool:
        """Did it fault where the request was mapped, with the work done?"""
        return self.touched_gone and self.data == xor(DATA, KEY)

    @property
    def left(self) -> bool:
        """Did the server answer ERROR, as it should, and then leave of itself?"""
        faulted = any(re.search(r"\bsepc|\bpc\b|scause|stval", line) for line in self.faults)
        return self.died and self.state == ERROR and not faulted

    @property
    def text(self) -> str:
        """How it ended, for evidence."""
        if self.outcome.error or not self.outcome.answer:
            return str(self.outcome)
        state = STATES.get(self.state, str(self.state))
        where = "idle" if self.idle else self.server or "gone"
        where = "dead" if self.died else where
        return f"crypto_op {self.outcome}, state is {state}, the server (pid 2) is {where}"


def is_idle(bench: Bench, look: Glance) -> bool:
    """Does pid 2 sleep where it slept after boot, waiting for requests?"""
    process = look.process(SERVER)
    return (
        process is not None
        and process.state == "SLEEPING"
        and process.chan == bench.shape.server_idle
    )


def gone(look: Glance) -> bool:
    """Has pid 2 ended?"""
    return look.state(SERVER) in (None, "ZOMBIE", "UNUSED")


def until_idle(bench: Bench, g: Session, seconds: float = WORK) -> Optional[Look]:
    """A look when the server waits again or has ended; None if that takes longer. One that asks for requests from
    time to time may not have looked yet.
    """
    if bench.shape.server_polls:
        g.settle(POLL)
    return g.until(lambda k: is_idle(bench, k) or gone(k), seconds)


def at_rest(bench: Bench, g: Session) -> Look:
    """A look when nobody is at work, after the server has come to wait: in a guest that has just booted it may not even
    be loaded yet.
    """
    g.until(lambda k: is_idle(bench, k), WORK)
    return g.quiet()


def serve(
    bench: Bench,
    g: Session,
    kind: int = DECRYPT,
    state: int = INIT,
    key: bytes = KEY,
    data: bytes = DATA,
    key_size: Optional[int] = None,
    data_size: Optional[int] = None,
    offset: int = 0,
) -> Served:
    """Submits one request in the first page of the arena and waits until the server is idle, ends,
    or takes too long.
    """
    va = g.arena + offset
    header = HEADER.pack(
        kind,
        state,
        len(key) if key_size is None else key_size,
        len(data) if data_size is None else data_size,
    )
    g.main.write(va, header + key + data)
    before = at_rest(bench, g)
    total = HEADER.size + len(key) + len(data)
    outcome = bench.attempt(g, lambda: g.main.call("crypto_op", va, total))
    if outcome.error or outcome.answer is None or outcome.answer.value < 0:
        return Served(outcome)
    look = until_idle(bench, g) or g.look()
    freed = look.page(g.main.pid, va)
    if freed and freed.pa in look.free:
        bench.find(
            "L1",
            "Giving a request back frees its frame under the client.",
            [f"pid {g.main.pid} still maps {freed}, but the frame is free"],
            function="unmap_shared_pages",
        )
        raise GuestError("the request's frame was freed under its client (L1)")
    raw = peek(g, look, va, total)
    return Served(
        outcome if g.machine.panic is None else bench.attempt(g, lambda: g.main.call("getpid")),
        struct.unpack_from("<I", raw, 4)[0],
        raw[HEADER.size + len(key) :],
        look.state(SERVER),
        is_idle(bench, look),
        before.size(SERVER),
        look.size(SERVER),
        bench.shape.window,
        len(_from_client(g, look)),
        tuple(
            str(p)
            for p in look.above_size(SERVER)
            if not p.shared and before.page(SERVER, p.va) is None
        ),
        tuple(server_faults(g)),
    )


def _from_client(g: Session, look: Look) -> list[Page]:
    """The server's pages that are marked shared, or whose frame is one of the first actor's."""
    frames = {page.pa for page in look.pages.get(g.main.pid, {}).values()}
    return [p for p in look.pages.get(SERVER, {}).values() if p.shared or p.pa in frames]


def peek(g: Session, look: Look, va: int, size: int) -> bytes:
    """Bytes of the first actor's memory, read from outside: it may be stuck itself."""
    page = look.page(g.main.pid, va)
    return g.machine.memory.read(page.pa + va % PAGE, size) if page else bytes(size)


FATE = r"scause|sepc|stval|fault|trap|illegal|killed|died"  # words about the end of a process


def server_faults(g: Session) -> list[str]:
    """Console lines that tell of pid 2's end, with the details that follow. A kernel may print its pid for other
    reasons too.
    """
    lines = g.talk
    for i, line in enumerate(lines):
        told = re.search(FATE, line) or re.search("sepc|stval", " ".join(lines[i + 1 : i + 2]))
        if (
            told
            and re.search(r"\bpid[ =]+2\b", line)
            or re.search(r"crypto_srv.*(died|killed)", line)
        ):
            return lines[max(0, i - 1) : i + 3]
    return []


def xor(data: bytes, key: bytes) -> bytes:
    """What encryption and decryption are here."""
    return bytes(b ^ key[i % len(key)] for i, b in enumerate(data))


def book(
    bench: Bench,
    id: str,
    sentence: str,
    evidence: list[str],
    line: Optional[tuple[str, int]] = None,
) -> None:
    """Books a finding in the server's own program, and where it faulted as evidence."""
    elf = Elf(str(bench.lab.build.programs["crypto_srv"]))
    places = []
    for text in evidence:
        found = re.search(r"sepc=(?:0x)?0*([0-9a-f]+)|pc (?:0x)?0*([0-9a-f]+)", text)
        at = elf.line(int(found[1] or found[2], 16)) if found else None
        if at:
            holder = elf.function_at(*at)
            places.append(f"the fault is at {at[0]}:{at[1]} ({holder})")
            if holder == "main" or id == "C6":  # else a helper of whoever should have checked
                line = line or at
    bench.find(id, sentence, evidence + places, function="main", line=line, elf=elf)


def good_requests(bench: Bench) -> None:
    """Both types, as the assignment has them."""
    for kind, name in ((DECRYPT, "DECRYPT"), (ENCRYPT, "ENCRYPT")):
        with bench.guest() as (g, _):
            served = serve(bench, g, kind)
            call = f"{name}, state INIT, key of {len(KEY)} and data of {len(DATA)} bytes: {served.text}"
            if served.outcome.error:
                id = "K2" if served.outcome.lock_panic else "C8"
                bench.find(id, f"A good {name} request stops the kernel.", [call])
            elif served.outcome.value < 0:
                bench.undecided("C1", f"crypto_op refuses a good request: {call}")
            elif served.died:
                late = served.state == DONE or served.touched_late
                how = (
                    "touches the request after giving it back"
                    if late
                    else "ends over a good request"
                )
                book(bench, "C6" if late else "C8", f"The server {how}.", [call, *served.faults])
            elif not served.idle:
                book(bench, "C8", "The server does not come back from a good request.", [call])
            elif served.state == ERROR:
                book(bench, "C1", f"A good {name} request is answered with ERROR.", [call])
            elif served.state == DONE and served.data != xor(DATA, KEY):
                lines = [call, f"expected {xor(DATA, KEY).hex()}", f"got {served.data.hex()}"]
                book(bench, "C1", f"A good {name} request is answered with wrong data.", lines)
            elif served.state == INIT:
                book(bench, "C1", f"A good {name} request is never answered.", [call])
            elif served.stray:
                book(
                    bench,
                    "X5",
                    "The server allocates above a live mapping: once that is gone, its own memory "
                    "lies above its sz, where the next request is mapped.",
                    [call, *(f"above sz of pid 2: {page}" for page in served.stray[:4])],
                )
            elif served.pages:
                book(
                    bench,
                    "C4",
                    "A request's mapping stays in the server.",
                    [call, f"sz of pid 2: {served.size_before:#x} -> {served.size_after:#x}"],
                )


def one_request(bench: Bench) -> None:
    """A scene: a good request."""
    with bench.guest() as (g, _):
        serve(bench, g)


INVALID = (  # name, type, state
    ("type 0", 0, INIT),
    ("type 3", 3, INIT),
    ("type 77", 77, INIT),
    ("state DONE", DECRYPT, DONE),
    ("state ERROR", DECRYPT, ERROR),
    ("state 9", DECRYPT, 9),
)


def bad_headers(bench: Bench) -> None:
    """A type or a state that must be refused."""
    if not _sound(bench, "C1", "C4", "C8", "C10"):
        return
    for name, kind, state in INVALID:
        with bench.guest() as (g, _):
            served = serve(bench, g, kind, state)
            call = f"a request with {name}: {served.text}"
            if served.outcome.error or served.outcome.value < 0:
                for id in ("C1", "C4", "C8", "C10"):
                    bench.undecided(id, call)
                continue
            if not _survived(bench, served, call):
                continue
            if served.data == xor(DATA, KEY):
                book(bench, "C1", f"A request with {name} is worked on.", [call])
            elif name.startswith("type") and served.state == INIT:
                book(
                    bench, "C10", f"A request with {name} never ends: its state stays INIT.", [call]
                )
            elif served.state == 9:
                text = f"A request with {name} does not end in ERROR: its state stays 9."
                book(bench, "C10", text, [call])
            elif name.startswith("type") and served.state == DONE:
                book(bench, "C1", f"A request with {name} is answered with DONE.", [call])
            _left_behind(bench, served, call)
    _short_request(bench)


def _short_request(bench: Bench) -> None:
    """One that ends within its header, behind the state: a client that asks so waits for an answer too."""
    size = 16
    with bench.guest() as (g, _):
        g.main.write(g.arena, HEADER.pack(DECRYPT, INIT, len(KEY), len(DATA)) + KEY + DATA)
        outcome = bench.attempt(g, lambda: g.main.call("crypto_op", g.arena, size))
        if outcome.answer is None or outcome.value < 0:
            return
        look = until_idle(bench, g)
        if look is None or gone(look) or server_faults(g):
            return  # what other sizes tell
        if struct.unpack("<I", peek(g, g.look(), g.arena + 4, 4))[0] == INIT:
            call = (
                f"crypto_op({g.arena:#x}, {size}): {outcome}, then the server (pid 2) is idle again"
            )
            text = "A request too short for a header never ends: its state, which is there, stays INIT."
            book(bench, "C10", text, [call])


def _sound(bench: Bench, *ids: str) -> bool:
    """Does the server live through a good request? If not, what a bad one does says nothing."""
    if not bench.found("C6", "C8", "K2"):
        return True
    for id in ids:
        bench.undecided(id, "the server does not live through a good request")
    return False


def _survived(bench: Bench, served: Served, call: str) -> bool:
    if served.idle and not served.died:
        return True
    if served.touched_gone:
        text = "The server touches an invalid request after giving it back."
        book(bench, "C6", text, [call, *served.faults])
        return False
    how = "ends" if served.died else "does not come back"
    book(bench, "C8", f"The server {how} after an invalid request.", [call, *served.faults])
    return False


def _left_behind(bench: Bench, served: Served, call: str) -> None:
    if served.pages:
        book(
            bench,
            "C4",
            "The mapping of an invalid request stays in the server.",
            [
                call,
                f"sz of pid 2: {served.size_before:#x} before, {served.size_after:#x} after",
                f"pages of the client left in pid 2: {served.pages}",
            ],
        )


def bad_sizes(bench: Bench) -> None:
    """Sizes that cannot be right."""
    if not _sound(bench, "C2", "C3"):
        return
    with bench.guest() as (g, _):
        served = serve(bench, g, key=b"", data=DATA, key_size=0)
        call = f"a request with key_size 0: {served.text}"
        if not served.outcome.error and served.outcome.value >= 0:
            if served.left or served.touched_gone:
                _survived(bench, served, call)
            elif served.died:
                book(bench, "C2", "A key of size 0 ends the server.", [call, *served.faults])
            elif not served.idle:
                book(bench, "C2", "With a key of size 0 the server never finishes.", [call])
            elif served.state == DONE:
                book(bench, "C2", "A key of size 0 is answered with DONE.", [call])
            else:
                _left_behind(bench, served, call)
    if not bench.found("M2"):
        _no_header(bench, False)
    _no_header(bench, True)
    whole = HEADER.size + len(KEY) + len(DATA)
    end = PAGE - whole & -8  # where a request ends with its page
    for name, key_size, data_size, offset in (
        ("a data_size of 1 MiB", len(KEY), 1 << 20, 0),
        ("a key_size of 1 MiB", 1 << 20, len(DATA), 0),
        ("a data_size of 2 pages", len(KEY), 2 * PAGE, 0),
        (f"a data_size of {whole}, its own size, at its end", len(KEY), whole, end),
        ("a data_size with which the sum wraps around", len(KEY), (1 << 64) - 2, 0),
    ):
        with bench.guest() as (g, _):
            served = serve(bench, g, key_size=key_size, data_size=data_size, offset=offset)
            call = f"a request of one page with {name}: {served.text}"
            if served.outcome.error or served.outcome.value < 0:
                bench.undecided("C3", call)
                continue
            ended = served.died or not served.idle
            if offset and ended and not _lives_at(bench, offset):
                continue  # what an address that is not aligned does to it says nothing of sizes
            if served.left or served.touched_gone:
                _survived(bench, served, call)
            elif served.died:
                book(
                    bench,
                    "C3",
                    f"A request of one page with {name} kills the server.",
                    [call, *served.faults],
                )
            elif not served.idle:
                book(bench, "C3", f"With {name} the server never finishes.", [call])
            elif served.state == DONE:
                book(
                    bench, "C3", f"A request of one page with {name} is answered with DONE.", [call]
                )
            else:
                _left_behind(bench, served, call)


def _lives_at(bench: Bench, offset: int) -> bool:
    """Does the server live through a good request at that offset in a page?"""
    with bench.guest() as (g, _):
        served = serve(bench, g, offset=offset)
        return served.idle and not served.died


def _no_header(bench: Bench, last: bool) -> None:
    """A request too small for its own header, at the end of a page: what follows is not mapped. last: that is also
    the end of its client's memory, so that nothing that follows can be.
    """
    for size, touches in ((8, "reads the sizes"), (4, "reads or sets a state")):
        with bench.guest() as (g, _):
            if last:
                top = g.main.call("sbrk", 0).value
                g.main.call("sbrk", rounded(top) - top + PAGE)
            va = (rounded(top) if last else g.arena) + PAGE - size
            g.main.write(va, HEADER.pack(DECRYPT, INIT, 1, 1)[:size])
            before = at_rest(bench, g).size(SERVER)
            outcome = bench.attempt(g, lambda: g.main.call("crypto_op", va, size))
            if not outcome.answer or outcome.value < 0:
                return
            look = until_idle(bench, g)
            if look is not None and (faults := server_faults(g)):
                call = f"crypto_op({va:#x}, {size}), the last {size} bytes of a page: {outcome}"
                window = bench.shape.window
                served = Served(outcome, size_before=before, window=window, faults=tuple(faults))
                if served.touched_gone and not last:
                    _survived(bench, served, call)
                if not served.faulted_in(1):
                    return  # what else ends it says nothing of sizes
                text = f"A request too small for a header kills the server: it {touches} behind it."
                book(bench, "C3", text, [call, *faults])
                return


def other_pid(bench: Bench) -> None:
    """crypto_srv started as an ordinary program."""
    with bench.guest() as (g, _):
        pid = g.main.run("/crypto_srv")
        look = g.until(lambda k: k.state(pid) in (None, "ZOMBIE", "UNUSED"), 5.0)
        if look is None and g.machine.panic is None:
            state = g.glance().state(pid)
            book(
                bench,
                "C7",
                f"crypto_srv started with pid {pid} does not exit.",
                [f"after 5 s of guest time pid {pid} is {state}"],
            )


def nothing_mapped(bench: Bench) -> None:
    """Requests of sizes that map nothing, which only the server's call may pass on to the mapping."""
    if bench.found("C6", "C8"):
        return  # the server's death would say nothing; the calls themselves have been tried
    for id, size in (("M8", 0), ("M7", (1 << 64) - 1)):
        if bench.found(id):
            continue
        with bench.guest() as (g, _):
            before = at_rest(bench, g).size(SERVER)
            outcome = bench.attempt(g, lambda: g.main.call("crypto_op", g.arena, size))
            if outcome.answer is None or outcome.value < 0:
                continue
            until_idle(bench, g)
            faults = tuple(server_faults(g))
            served = Served(outcome, size_before=before, window=bench.shape.window, faults=faults)
            if served.touched_gone:
                lines = [f"crypto_op({g.arena:#x}, {size:#x}): {outcome}", *served.faults]
                text = "A mapping of {} for the server reports success, but nothing is mapped."
                what = "a size that wraps around" if size else "0 bytes"
                bench.find(id, text.format(what), lines)


def _left_quietly(g: Session, look: Glance) -> bool:
    """Has the server ended with neither a fault nor a panic?"""
    return gone(look) and not server_faults(g) and not fault_lines(g) and g.machine.panic is None


def bad_address(bench: Bench) -> None:
    """A request at an address where the client has nothing."""
    with bench.guest() as (g, _):
        before = g.quiet()
        va = rounded(before.size(g.main.pid)) + 64 * PAGE
        outcome = bench.attempt(g, lambda: g.main.call("crypto_op", va, 100))
        call = f"crypto_op({va:#x}, 100), where nothing is mapped: {outcome}"
        if outcome.answer is not None and outcome.answer.value < 0:
            _lenient(bench)
            return
        if outcome.answer is not None:
            bench.find("Q2", "crypto_op accepts an address where its caller has no memory.", [call])
        if not bench.shape.server_idle:
            bench.undecided("C8", f"no server waits for requests ({bench.shape.server_state})")
            return  # what the kernel does, probes/queue.py shows
        look = until_idle(bench, g)
        if bench.found("X1") or bench.found("M4", "M7") and not (look and _left_quietly(g, look)):
            return  # what becomes of the server then is the mapping's doing
        if g.machine.panic is not None:
            end = bench.attempt(g, lambda: g.main.call("getpid"))
            id = "K2" if end.lock_panic else "X1"
            bench.find(id, "A request that cannot be mapped stops the kernel.", [call, str(end)])
        elif look is None:
            book(bench, "C8", "After a request that cannot be mapped the server spins.", [call])
        elif gone(look) or server_faults(g):
            faults = fault_lines(g) or server_faults(g)
            if any("ffffffffffff" in line for line in faults):
                bench.find(
                    "X1",
                    "A mapping that failed reaches the server as an address: it reads at -1 and dies.",
                    [call, *faults],
                )
            else:
                book(
                    bench,
                    "C8",
                    "After a request that cannot be mapped the server is gone.",
                    [call, *faults],
                )
        else:
            _bad_again(bench, g, va)


def _lenient(bench: Bench) -> None:
    """Ranges that look good from one end, or to who asks only whether there is a page."""
    with bench.guest() as (g, _):
        top = rounded(g.quiet().size(g.main.pid))
        ranges = [
            ("a range that ends above its caller's memory", top - 104, PAGE),
            ("a page of code, which its caller may not write to", g.code, 100),
        ]
        if guard := guard_page(g, g.main.pid, top):
            ranges.append((GUARD, guard, 100))
        for what, va, size in ranges:
            outcome = bench.attempt(g, lambda: g.main.call("crypto_op", va, size))
            if outcome.answer is not None and outcome.value >= 0:
                call = f"crypto_op({va:#x}, {size}): {outcome}"
                bench.find("Q2", f"crypto_op accepts {what}.", [call])
                return  # the server may be no more
            if outcome.answer is None:
                return


AGAIN = 20  # more than a server may forgive


def _bad_again(bench: Bench, g: Session, va: int) -> None:
    """The same request again and again: a server that counts them may have enough of it."""
    g.main.ask("s 0 " + g.coded("crypto_op", (va, 100)))
    if bench.attempt(g, lambda: g.main.ask(f"l {AGAIN:x} 1 0")).error:
        return
    look = until_idle(bench, g)
    if look and gone(look) and g.until(lambda k: is_idle(bench, k), WORK) is None:
        call = f"crypto_op({va:#x}, 100), where nothing is mapped, {AGAIN} times more"
        text = (
            "After some requests that cannot be mapped the server is gone, and no other is started."
        )
        book(bench, "C8", text, [call, *server_faults(g)])


PROBES = [
    Probe("good requests", ("C1", "C6", "X5"), ("server",), good_requests, stage=1),
    Probe("bad headers", ("C1", "C4", "C6", "C8", "C10"), ("server",), bad_headers),
    Probe("bad sizes", ("C2", "C3"), ("server",), bad_sizes),
    Probe("another pid", ("C7",), ("program",), other_pid),
    Probe("nothing mapped", ("M7", "M8"), ("server", "map"), nothing_mapped, stage=4),
    Probe("bad address", ("X1", "Q2", "C8"), ("queue",), bad_address, stage=4),
]
