"""tools/submit/session.py: what is an answer, and when there is none, from a guest that is played here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Optional, cast

import pytest

from tests.guest.image import Image
from tools.guest.stack import Frame
from tools.submit import session as sessions
from tools.submit import shape as shapes
from tools.submit.findings import Report
from tools.submit.lab import Lab
from tools.submit.probes import mapping, server
from tools.submit.probes.base import Bench, Caught, Outcome
from tools.submit.probes.queue import StandIn
from tools.submit.session import Actor, Died, Hung, Session
from tools.submit.shape import Shape
from tools.submit.systemcalls import Numbers


class Player:
    """A machine whose console is written by a script; each pump takes `step` seconds of its time."""

    def __init__(self, script: Iterator[bytes], step: float):
        self.console, self.panic, self.memory = b"", None, None
        self.script, self.step, self.now = script, step, 0.0
        self.sent: list[str] = []
        self.kept_waiting = False

    def send(self, text: str) -> None:
        """What the host types."""
        self.sent.append(text)

    def pump(self, seconds: float) -> bool:
        """The script's next words, if it has any now."""
        self.now += self.step
        text = next(self.script, b"")
        self.console += text
        return bool(text)

    def time(self) -> float:
        """Its clock."""
        return self.now

    def scheduling(self) -> tuple[float, float]:
        """It runs, or it is kept waiting by the host, all of the time."""
        return (0.0, self.now) if self.kept_waiting else (self.now, 0.0)


class Slots:
    """A glance that shows one process, or none."""

    def __init__(self, state: Optional[str]):
        slot = type("Slot", (), {"pid": 4, "state": state})
        self.processes = type("Processes", (), {"slots": [slot] if state else []})


def answer(actor: int, count: int, value: int, nonce: str = "n0") -> bytes:
    """A line of the agent's."""
    return f"\n@{nonce} {actor:x} {count:04x} {value:016x}  $\n".encode()


def talking(script: list[bytes], step: float = 0.1) -> Session:
    """A session past its first words, with actor 1, pid 4, that has been asked nothing yet."""
    made: Any = Session.__new__(Session)
    made.machine, made.timeout, made.nonce = Player(iter(script), step), 6.0, "n0"
    made.pids, made.sent, made.given = {1: 4}, {0: (2, 0), 1: (0, 0)}, []
    made.main = Actor(made, 0, 3)
    result: Session = made
    return result


def test_an_answer_that_comes_twice_is_one() -> None:
    """Asked for again while it was on its way, it comes again after the next command."""
    s = talking([answer(1, 1, 7), answer(1, 1, 7), answer(1, 2, 8)])
    assert s.ask(1, "c 1").value == 7
    assert s.ask(1, "c 2").value == 8


def test_a_new_actor_counts_from_one() -> None:
    """What the one before it in its place has said is no answer of its own."""
    s = talking([answer(1, 1, 7), answer(0, 3, 5), answer(1, 1, 9)])
    assert s.ask(1, "c 1").value == 7
    assert s.fork(1).pid == 5
    assert s.ask(1, "c 1").value == 9


def test_a_caller_is_gone_by_the_guests_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the host looks while the guest does not come to run: only its own time counts."""
    monkeypatch.setattr(Session, "glance", lambda self: Slots("ZOMBIE"))
    s = talking([b""] * 50 + [answer(1, 1, 7)], step=0.001)
    assert s.ask(1, "c 1").value == 7
    with pytest.raises(Died, match="pid 4: ZOMBIE"):
        talking([], step=0.1).ask(1, "c 1")


def test_a_leap_of_the_clock_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle guest's clock follows the host's, which may not have let it run."""
    monkeypatch.setattr(Session, "glance", lambda self: Slots("RUNNING"))
    leaps = [b""] * (sessions.ROUNDS - 2) + [answer(1, 1, 7)]
    assert talking(leaps, step=10.0).ask(1, "c 1").value == 7
    with pytest.raises(Hung):
        talking([], step=10.0).ask(1, "c 1")


def test_what_the_host_keeps_waiting_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle guest that waits for its disk, while the host lets QEMU wait, is not late."""
    monkeypatch.setattr(Session, "glance", lambda self: Slots("RUNNING"))
    s = talking([b""] * 40 + [answer(1, 1, 7)], step=1.0)
    machine: Any = s.machine
    machine.kept_waiting = True
    assert s.ask(1, "c 1").value == 7


@pytest.mark.parametrize(
    "stval,id", [("0x5010", "C6"), ("0x6000", "C8")], ids=["in its page", "behind it"]
)
def test_a_fault_where_the_request_was_is_a_touch_after_removing(
    monkeypatch: pytest.MonkeyPatch, stval: str, id: str
) -> None:
    """An invalid request that ends the server: by an address of the page that has been given back, or by another."""
    booked: list[str] = []
    monkeypatch.setattr(server, "book", lambda bench, id, *rest: booked.append(id))
    faults = (
        "usertrap(): unexpected scause 0x000000000000000f pid=2",
        f"            sepc=0x0000000000000128 stval={stval}",
    )
    bench: Any = None
    served = server.Served(
        Outcome(None),
        state=1,
        server="ZOMBIE",
        size_before=0x5000,
        size_after=0x5000,
        faults=faults,
    )
    assert not server._survived(bench, served, "a request with type 0")
    assert booked == [id]


def test_an_end_without_a_fault_touches_nothing() -> None:
    """A server that left of itself has touched no page, also if it had no size yet when that was read."""
    lines = ("crypto_srv: process 2 serves crypto requests", "crypto_srv: died (status 1)")
    for size in (-1, 0, 0x5000):
        left = server.Served(Outcome(None), server="ZOMBIE", size_before=size, faults=lines)
        assert left.died and not left.touched_gone


def test_whoever_debugs_a_kept_lock_is_told_who_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before gdb has the guest, as in the report."""
    frames = [Frame(1, False, "acquire", None), Frame(2, False, "sys_map", ("kernel/a.c", 7))]
    monkeypatch.setattr(Bench, "_locking", lambda self: frames)
    told: list[str] = []
    bench: Any = Bench.__new__(Bench)
    bench.stop_at, bench.session, bench.report = "K2", talking([]), Report("")
    bench.live = True
    bench.hold = lambda caught: told.extend(caught.lines)
    with pytest.raises(Caught):
        bench.find("K2", "A lock is kept.", ["a call"])
    assert told == [
        "A lock is kept.",
        "a call",
        "that lock is taken in acquire < sys_map (kernel/a.c:7)",
    ]


def test_a_panic_about_a_lock_is_no_sign_of_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was tried when the kernel stopped: a lock that an earlier call kept is why."""
    monkeypatch.setattr(Bench, "_locking", lambda self: [])
    told: list[str] = []
    bench: Any = Bench.__new__(Bench)
    bench.stop_at, bench.session, bench.report = "K2", talking([]), Report("")
    bench.live = True
    played: Any = bench.session.machine
    played.panic = "sched locks"
    bench.hold = lambda caught: told.extend(caught.lines)
    with pytest.raises(Caught):
        bench.find("X3", "A mapping goes wrong.", ["map: panic: sched locks in sched"])
    assert told[0] == "A mapping goes wrong. A lock is the reason."


def test_no_order_is_sought_where_the_mapping_ends_the_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would end it for every order of unmap's arguments: one try for each size is enough."""
    tries: list[int] = []

    def mapping(lab: Any, shape: Shape, order: Any, size: int) -> bool:
        tries.append(size)
        raise Died("panic: acquire", "c 1b")

    monkeypatch.setattr(shapes, "_try_unmap", mapping)
    monkeypatch.setattr(shapes, "reaches", lambda *rest: True)
    shape, lab = Shape(), SimpleNamespace(numbers=Numbers())
    assert shapes._unmap_order(cast(Lab, lab), shape, {}) is None
    assert tries == [64, 4096] and shape.trouble == "panic: acquire"


def test_a_trap_told_within_an_answer_is_heard() -> None:
    """The agent's words and the kernel's mix on the console: a line that has both is not thrown away."""
    told = b"\n@n0 0 0005 00usertrap(): unexpected scause 0xf pid=2\n00 sepc=0x174 stval=0x4004\n"
    made = talking([])
    made.machine.console = answer(1, 1, 7) + told
    assert made.talk == told.decode().split("\n")[1:-1]


@pytest.mark.parametrize("counted", [False, True])
def test_a_kernel_is_made_to_run_out_of_memory(tmp_path: Path, counted: bool) -> None:
    """Its list of free frames is cut at the head; where that is a number, as in this tree, it is left alone."""
    image = Image(tmp_path, counted)
    image.set("kmem.freelist", 7)
    made = talking([])
    made.kernel = image.kernel
    calls: Any = made.machine
    calls.memory = type("Memory", (), {"write": staticmethod(image.write)})
    calls.pause = calls.run = lambda: None
    assert mapping._forget_free(made) is not counted
    place = image.at("kmem.freelist") - image.direct
    assert image.memory.read(place, 1) == (b"\7" if counted else b"\0")


def test_a_server_that_comes_up_late_is_let_take() -> None:
    """A guest may be asked to take before its server's program has been loaded."""
    memory = {"allowed": bytes(8), "count": bytes(8), "log": bytes(32)}

    class Late(StandIn):
        """Its program is there from the third look on."""

        looks = 0

        def _read(self, name: str, size: int) -> bytes:
            return memory[name] if self.looks > 2 else bytes(size)

        def _write(self, name: str, data: bytes) -> None:
            if self.looks > 2:
                memory[name] = data

    def until(done: Callable[[Any], bool], seconds: float) -> object:
        for _ in range(5):
            late.looks += 1
            if late.looks > 3:
                memory["count"] = memory["allowed"]  # it has run meanwhile
            if done(None):
                return True
        return None

    session: Any = SimpleNamespace(until=until)
    late = Late(session, cast(Any, None))
    assert late.take(1) == (0, 0, 0, 0)
