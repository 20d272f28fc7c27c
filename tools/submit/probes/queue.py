"""Probes of how the kernel hands requests to the server, with a server of ours that reads none of them.

So the tree's own server, or its absence, decides nothing here, and the host decides when a request is
taken (guest/server.c).
"""

from __future__ import annotations

import struct
from typing import Optional

from tools.guest import walk
from tools.guest.elf import Elf
from tools.submit.look import Glance
from tools.submit.probes.base import MAXVA, PAGE, Bench, Probe, culprit, rounded
from tools.submit.probes.locks import kept_locks
from tools.submit.session import SERVER, Session
from tools.submit.shape import NOWHERE

TAKEN = struct.Struct("<qQQq")  # struct taken of guest/server.c
NO_ADDRESS = (0, 0xFFFF_FFFF, (1 << 64) - 1)
WORK = 5.0  # seconds of guest time to take a request


class StandIn:
    """The server of ours in a guest."""

    def __init__(self, session: Session, elf: Elf):
        self.session, self.elf = session, elf

    def take(self, number: int) -> Optional[tuple[int, int, int, int]]:
        """Lets it take requests up to the `number`th: result, address, size, and what giving it back
        returned; None if it does not come back from that.
        """

        def taken(_: Glance) -> bool:
            self._write("allowed", number.to_bytes(8, "little"))  # again: it may just have come up
            return self._count() >= number

        if self.session.until(taken, WORK) is None:
            return None
        raw = self._read("log", TAKEN.size * number)
        result, va, size, back = TAKEN.unpack(raw[-TAKEN.size :])
        return result, va, size, back

    def _count(self) -> int:
        return int.from_bytes(self._read("count", 8), "little")

    def _where(self, name: str) -> int:
        server = self.session.glance().process(SERVER)
        if server is None or server.root is None:
            return 0
        return (
            walk(self.session.machine.memory, server.root, self.elf.symbols[name].address).pa or 0
        )

    def _read(self, name: str, size: int) -> bytes:
        where = self._where(name)
        return self.session.machine.memory.read(where, size) if where else bytes(size)

    def _write(self, name: str, data: bytes) -> None:
        where = self._where(name)
        if where:
            self.session.machine.memory.write(where, data)


def unmappable(bench: Bench) -> None:
    """A request whose memory cannot be mapped, taken: above the heap, where not even a page of the table is, above all
    user addresses, and of no bytes. A mapping may fail in more than one way.
    """
    for where, size in ((0, 100), (NOWHERE, 100), (MAXVA, 100), (NOWHERE, 0)):
        _unmappable(bench, where, size)


def _unmappable(bench: Bench, where: int, size: int) -> None:
    elf, image = bench.lab.stand_in()
    with bench.guest(image=image) as (g, _):
        server = StandIn(g, elf)
        va = where or rounded(g.quiet().size(g.main.pid)) + 64 * PAGE
        asked = bench.attempt(g, lambda: g.main.call("crypto_op", va, size))
        if asked.answer is None or asked.answer.value < 0:
            return  # refused, as nobody asks for
        taken = server.take(1)
        call = f"crypto_op({va:#x}, {size}), where nothing is mapped; then the server takes the request"
        if _stopped(bench, g, call, "X1", "A request that cannot be mapped stops the kernel."):
            return
        if taken is None:
            bench.undecided("X1", f"{call}: it does not come back")
        elif taken[0] == 0 and taken[1] in NO_ADDRESS:
            bench.find(
                "X1",
                "A mapping that failed is handed to the server as if it were an address.",
                [call, f"take_shared_memory_request returned 0 and the address {taken[1]:#x}"],
            )
        elif held := kept_locks(g):
            text = "Taking a request that cannot be mapped keeps a lock."
            bench.find("K2", text, [call, *(f"held: {k}" for k in held)], TAKE)


TAKE = "sys_take_shared_memory_request"


def _stopped(bench: Bench, g: Session, call: str, id: str, sentence: str) -> bool:
    """Books a panic, of locks or as `id`."""
    if g.machine.panic is None:
        return False
    end = bench.attempt(g, lambda: g.main.call("getpid"))
    if end.lock_panic:
        frame = culprit(end)
        function, line = (frame.function or TAKE, frame.line) if frame else (TAKE, None)
        bench.find("K2", sentence, [call, str(end)], function, line)
    elif id == "X1" and bench.found("M4", "M7"):
        bench.undecided(id, "a mapping that should fail stops the kernel")
    else:
        taking = (f.line for f in end.frames if f.function == TAKE and f.line)
        bench.find(id, sentence, [call, str(end)], line=next(taking, None))
    return True


def good(bench: Bench) -> None:
    """A good request, taken and given back."""
    elf, image = bench.lab.stand_in()
    with bench.guest(image=image) as (g, _):
        server = StandIn(g, elf)
        asked = bench.attempt(g, lambda: g.main.call("crypto_op", g.arena, 100))
        if asked.answer is None or asked.answer.value < 0:
            return
        taken = server.take(1)
        call = f"crypto_op({g.arena:#x}, 100); then the server takes the request and gives it back"
        if _stopped(bench, g, call, "K2", "Taking a good request stops the kernel."):
            return
        held = kept_locks(g) if taken else []
        if held:
            text = "Taking a request keeps a lock."
            bench.find("K2", text, [call, *(f"held: {k}" for k in held)], TAKE)


def client_gone(bench: Bench) -> None:
    """A request whose client has exited and been reaped before the server takes it."""
    elf, image = bench.lab.stand_in()
    with bench.guest(image=image) as (g, _):
        server = StandIn(g, elf)
        child = g.fork(1)
        asked = bench.attempt(g, lambda: child.call("crypto_op", g.arena, 100))
        if asked.answer is None or asked.answer.value < 0:
            bench.undecided("X4", f"crypto_op {asked}")
            return
        gone = bench.farewell(g, child)
        if gone.error:
            bench.undecided("X4", f"the client does not leave: {gone}")
            return
        taken = server.take(1)
        call = f"pid {child.pid} asks, exits and is reaped; then the server takes its request"
        text = "The request of a client that has gone stops the kernel."
        if not _stopped(bench, g, call, "X4", text) and taken and (held := kept_locks(g)):
            text = "Taking the request of a client that has gone keeps a lock."
            bench.find("K2", text, [call, *(f"held: {k}" for k in held)], TAKE)


PROBES = [
    Probe("a request taken", ("K2",), ("queue", "take"), good),
    Probe("a request that cannot be mapped", ("X1", "K2"), ("queue", "take"), unmappable, stage=3),
    Probe("a client that has gone", ("X4", "K2"), ("queue", "take"), client_gone),
]
