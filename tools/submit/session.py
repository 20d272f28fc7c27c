"""A conversation with the agent in a guest, and looks into its memory between two sentences.

A call that does not come back ends in an exception that says how: a panic, the process killed, or
no answer within an amount of the guest's own time. The conclusions are drawn elsewhere.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

from tools.guest import GuestError, Kernel
from tools.guest.elf import Elf
from tools.guest.stack import Frame, kernel_frames
from tools.guest.sv39 import S
from tools.submit.findings import plain
from tools.submit.look import Glance, Look
from tools.submit.machine import Machine
from tools.submit.systemcalls import Numbers

PAGE = 4096
MASK = (1 << 64) - 1
ARENA_PAGES = 16
SERVER = 2  # the crypto server's pid
TRAP = r"\bpid[ =]|scause|stval"  # words of a kernel that tells of a program's fault
GONE = 0.3  # seconds of guest time for which a caller is in no slot: not just while that changes
ROUNDS = 12  # looks before something is late
BOOT = 60.0  # guest seconds until the agent must have come up: most of it waits for the disk
IDLE = 2.5  # times as long an idle guest may take
BUSY = 0.05  # seconds of QEMU's for each of the guest's, from which on the guest is at work
DEAD = 8.0  # seconds of real time for which the guest's clock stands still
STALLED = 600.0  # seconds of real time without an answer: the machine itself is stuck
Condition = Callable[[Glance], bool]


def _nothing() -> None:
    pass


class Unanswered(Exception):
    """A call did not come back."""

    def __init__(self, text: str, call: str):
        super().__init__(f"{text}, during {call}")
        self.text, self.call = text, call


class Panicked(Unanswered):
    """The kernel panicked."""


class Died(Unanswered):
    """The process that made the call is gone."""


class Hung(Unanswered):
    """Nothing came back in time."""


@dataclass
class Answer:
    """value: what the call returned, signed. data: the bytes asked for."""

    value: int
    data: bytes

    @property
    def failed(self) -> bool:
        """Is it a failure by either convention, 0 or -1 (also one cut to 32 bits)?"""
        return self.value in (0, -1, 0xFFFF_FFFF)


@dataclass
class Given:
    """A command that an actor was given. waited: was its answer waited for?"""

    actor: int
    command: str
    waited: bool = False


@dataclass
class Actor:
    """A process that makes calls on demand."""

    session: "Session"
    index: int
    pid: int

    def ask(self, command: str) -> Answer:
        """One command of the agent's language (guest/agent.c)."""
        return self.session.ask(self.index, command)

    def call(self, name: str, *arguments: int | str) -> Answer:
        """A system call by name. `R` stands for the result of the call before, in loops only."""
        return self.ask("c " + self.session.coded(name, arguments))

    def fork(self, index: int) -> "Actor":
        """A child that is actor `index`."""
        return Actor(self.session, index, self.ask(f"F {index:x}").value)

    def read(self, va: int, size: int) -> bytes:
        """Bytes of its memory, as it sees them; it dies if it may not."""
        return b"".join(
            self.ask(f"r {va + at:x} {min(64, size - at):x}").data for at in range(0, size, 64)
        )

    def write(self, va: int, data: bytes) -> None:
        """Stores bytes."""
        for at in range(0, len(data), 48):
            self.ask(f"w {va + at:x} {data[at : at + 48].hex()}")

    def fill(self, va: int, size: int, first: int) -> None:
        """Stores first, first + 1, ... modulo 256."""
        self.ask(f"p {va:x} {size:x} {first:x}")

    def exit(self) -> None:
        """Leaves; there is no answer to that."""
        self.session.post(self.index, "c " + self.session.coded("exit", (0,)))

    def wait(self) -> tuple[int, int]:
        """Waits for a child: pid and status."""
        answer = self.ask("W")
        return answer.value, int.from_bytes(answer.data[:4], "little", signed=True)

    def run(self, path: str, argument: str = "") -> int:
        """Starts a program as a child; its pid."""
        return self.ask(f"E {path} {argument}").value


class Frozen:
    """Has the guest's clock stopped? It does when every hart waits for an interrupt and no timer is
    set: nothing will ever happen in that guest again.
    """

    def __init__(self) -> None:
        self.last, self.since = -1.0, time.monotonic()

    def after(self, now: float, seconds: float) -> bool:
        """Has the guest's time been `now` for `seconds` of real time?"""
        if now != self.last:
            self.last, self.since = now, time.monotonic()
        return time.monotonic() - self.since > seconds


class Patience:
    """Is something late? The guest's clock counts instructions while it works, but follows the host's
    while it waits, for its disk too. So of an idle guest's time only what the host did not keep QEMU
    waiting counts.
    """

    def __init__(self, machine: Machine, seconds: float):
        self.machine, self.seconds, self.rounds = machine, seconds, 0
        self.began, self.frozen = machine.time(), Frozen()
        self.ran, self.waited = machine.scheduling()
        self.passed = 0.0

    def over(self) -> bool:
        """Asked again and again: has the time passed, or does it stand still?"""
        self.rounds, self.passed = self.rounds + 1, self.machine.time() - self.began
        if self.frozen.after(self.passed, DEAD):
            return True
        if self.passed <= self.seconds or self.rounds < ROUNDS:
            return False
        ran, waited = self.machine.scheduling()
        at_work = ran - self.ran > BUSY * self.passed
        return at_work or self.passed - (waited - self.waited) > IDLE * self.seconds


class Session:
    """One guest and its agent, from the agent's first answer on."""

    def __init__(
        self,
        machine: Machine,
        elf: Elf,
        agent: Elf,
        numbers: Numbers,
        nonce: str,
        timeout: float,
        mark: int = S,
    ):
        self.mark = mark  # the bit of a shared page
        # Gives QEMU's stub, which has room for one, to whoever comes next. Set by who has it.
        self.hand_over: Callable[[], None] = _nothing
        self.machine, self.numbers, self.timeout = machine, numbers, timeout
        self.kernel = Kernel(elf, machine.memory)
        self.nonce = "unset"
        self.pids: dict[int, int] = {}  # of actors
        # Number of an actor's last command, and how long the console was then. The first actor speaks
        # first, so its commands are numbered from 2.
        self.sent: dict[int, tuple[int, int]] = {0: (1, 0)}
        self.given: list[Given] = []  # all commands so far
        self.arena = agent.symbols["arena"].address
        self.code = agent.symbols["start"].address & -PAGE  # a page that may not be written to
        self.progress = agent.symbols["progress"].address
        machine.run()
        try:
            first = self._answer(0, "boot", BOOT)
            self.nonce = nonce
            self.main = Actor(self, 0, first.value)
            self.ask(0, f"n {nonce}")
            self.given.clear()
        except (Unanswered, GuestError):
            self.stop()
            raise

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the guest."""
        self.machine.stop()

    @property
    def console(self) -> str:
        """What the guest printed, with nothing in it that a terminal would obey."""
        return plain(self.machine.console.decode("ascii", "replace").replace("\r", ""))

    @property
    def talk(self) -> list[str]:
        """The lines of the console that are not the agent's conversation. A trap may be told in the middle of one."""
        return [
            line
            for line in self.console.splitlines()
            if line.strip()
            and (re.search(TRAP, line) or not re.match(r"@\w+ \w |\d \w( |$)", line))
        ]

    def coded(self, name: str, arguments: tuple[int | str, ...]) -> str:
        """Number and arguments of a call in the agent's language."""
        rest = [a if isinstance(a, str) else f"{a & MASK:x}" for a in arguments]
        return " ".join([f"{self.numbers[name]:x}", *rest])

    def post(self, actor: int, command: str) -> None:
        """Sends a command and does not wait for its answer."""
        number, _ = self.sent.get(actor, (0, 0))
        self.sent[actor] = number + 1, len(self.machine.console)
        self.given.append(Given(actor, command))
        self.machine.send(f"{actor} {command}\n")

    def ask(self, actor: int, command: str) -> Answer:
        """Sends a command and waits for its answer; raises Panicked, Died or Hung."""
        if self.machine.panic is not None:  # typing would interrupt the panic that is looked at
            self.settle(0.1)
            raise Panicked(f"panic: {self.machine.panic}", command)
        self.post(actor, command)
        self.given[-1].waited = True
        return self._answer(actor, command)

    def repeat(self, given: list[Given]) -> None:
        """Gives the commands that another guest was given, waiting for answers where that was done."""
        for g in given:
            words = g.command.split()
            if words[0] == "F":
                self.fork(int(words[1], 16), Actor(self, g.actor, 0))
            elif g.waited:
                self.ask(g.actor, g.command)
            else:
                self.post(g.actor, g.command)

    def answered(self, actor: int) -> bool:
        """Has an actor's last command been answered?"""
        return self._found(actor) is not None

    def _found(self, actor: int) -> Optional[Answer]:
        """The answer to an actor's last command, told by its number: an answer that was asked for
        again may come twice, the second time after the next command.
        """
        number, position = self.sent[actor]
        head = f"@{self.nonce} {actor:x} {number & 0xFFFF:04x} ".encode()
        pattern = re.escape(head) + rb"([0-9a-f]{16}) ((?:[0-9a-f]{2})*) \$"
        found = re.compile(pattern).search(self.machine.console, position)
        if found is None:
            return None
        value = int(found[1], 16)
        return Answer(value - (1 << 64) if value >> 63 else value, bytes.fromhex(found[2].decode()))

    def _answer(self, actor: int, what: str, seconds: float = 0.0) -> Answer:
        patience, begun = Patience(self.machine, seconds or self.timeout), time.monotonic()
        asked = False
        absent: Optional[float] = None  # guest time since which the caller is not there
        while True:
            found = self._found(actor)
            if found is not None:
                return found
            if self.machine.panic is not None:
                self.settle(0.1)
                raise Panicked(f"panic: {self.machine.panic}", what)
            if self.machine.pump(0.2):
                continue
            late, passed = patience.over(), patience.passed
            fate = self._fate(actor)
            absent = (passed if absent is None else absent) if fate else None
            if absent is not None and (late or passed - absent > GONE):
                raise Died(f"the process that called is gone ({fate})", what)
            if late or time.monotonic() - begun > STALLED:
                raise Hung(f"no answer after {passed:.0f} s of guest time", what)
            if not asked and passed > self.timeout / 4 and self._torn(actor):
                asked = True  # somebody else printed into the middle of the line
                self.machine.send(f"{actor} a  \n")

    def _torn(self, actor: int) -> bool:
        """Has an answer begun since an actor's last command?"""
        return b"@" in self.machine.console[self.sent[actor][1] :]

    def _fate(self, actor: int) -> str:
        """What has become of an actor that is no more; empty if it is there."""
        pid = self.pids.get(actor)
        if pid is None:
            return ""
        slots = [p for p in self.glance().processes.slots if p.pid == pid]
        if any(p.state not in ("ZOMBIE", "UNUSED") for p in slots):
            return ""
        said = [line for line in self.talk if re.search(rf"\bpid[ =]*{pid}\b", line)]
        return "; ".join([f"pid {pid}: {slots[0].state if slots else 'in no slot'}", *said[-1:]])

    def fork(self, index: int = 1, parent: Optional[Actor] = None) -> Actor:
        """A new actor, a child of the first one or of `parent`."""
        actor = (parent or self.main).fork(index)
        self.pids[index], self.sent[index] = actor.pid, (0, 0)
        return actor

    def settle(self, guest_seconds: float) -> None:
        """Lets an amount of the guest's own time pass, taking what it prints."""
        frozen, now = Frozen(), self.machine.time()
        until = now + guest_seconds
        while now < until and not frozen.after(now, DEAD / 4):
            self.machine.pump(0.005)
            now = self.machine.time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The guest stands still meanwhile."""
        self.machine.pause()
        try:
            yield
        finally:
            self.machine.run()

    def glance(self) -> Glance:
        """Who is there now."""
        with self.paused():
            return Glance(self.kernel)

    def look(self, locks: bool = False) -> Look:
        """What is in the guest's memory now, with the held locks if asked for."""
        with self.paused():
            return Look(self.kernel, locks, self.mark)

    def quiet(self, guest_seconds: float = 2.0) -> Look:
        """A look when nobody but the server is at work: the agents all wait for the host."""

        def is_quiet(glance: Glance) -> bool:
            working = [p for p in glance.processes.used if p.state in ("RUNNING", "RUNNABLE")]
            return all(p.pid == SERVER for p in working)

        return self.until(is_quiet, guest_seconds) or self.look()

    def until(self, done: "Condition", guest_seconds: float) -> Optional[Look]:
        """Glances again and again until `done(glance)`, then looks; None if that takes longer, or it
        panics.
        """
        patience = Patience(self.machine, guest_seconds)
        while True:
            with self.paused():
                if done(Glance(self.kernel)):
                    return Look(self.kernel, mark=self.mark)
            if self.machine.panic is not None or patience.over():
                return None
            self.machine.pump(0.01)

    def backtrace(self) -> list[Frame]:
        """Where a panic came from: the frames above panic() on the hart that is in it."""
        self.machine.pause()
        elf = self.kernel.elf
        for registers in self.machine.registers():
            frames = kernel_frames(self.kernel, None, registers)
            names = [f.function for f in frames]
            if "panic" in names:
                return frames[names.index("panic") + 1 :] + self._interrupted(elf)
            at = elf.nearest(registers.get("sepc", 0))  # an interrupt came over panic()
            if at and at[0].name == "panic" and "kernelvec" in names:
                return frames[names.index("kernelvec") + 1 :]
        return []

    def _interrupted(self, elf: Elf) -> list[Frame]:
        """The instruction a kernel trap names on the console, which frame pointers step over."""
        found = re.search(r"sepc=(?:0x)?([0-9a-f]+)", self.console)
        if not found:
            return []
        pc = int(found[1], 16)
        near = elf.nearest(pc)
        return [Frame(pc, False, near[0].name, elf.line(pc))] if near else []
