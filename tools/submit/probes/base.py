"""What all probes share: guests to make calls in, outcomes of calls that may not come back, and the
book of what was found.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Optional

from tools.guest import GuestError
from tools.guest.elf import Elf
from tools.guest.stack import Frame
from tools.submit.findings import CATALOGUE, Finding, Report, docs_page
from tools.submit.kept import keeper
from tools.submit.lab import Lab
from tools.submit.look import Look
from tools.submit.observe import Observer, observe
from tools.submit.session import Actor, Answer, Panicked, Session, Unanswered
from tools.submit.shape import Calls, Shape

PAGE = 4096
REGION = PAGE << 9  # what one page of the table's last level maps
MAXVA = 1 << 38  # of Sv39, the upper half left out
EVIDENCE = 14  # lines kept for one finding
LOCK_PANICS = (
    "acquire",
    "release",
    "sched locks",
    "sched: pid",  # this project's own kernel, which submissions may be built on
    "sched running",
    "pop_off",
    "sched interruptible",
)
TAKING = ("acquire", "sched")  # of these: a lock is held that was taken before
FINDER = re.compile(
    r"(find|get|look|alloc)_?\w*"
)  # looks a process up: whoever calls it is to blame
SHARING = (
    "map_shared_pages unmap_shared_pages crypto_op take_shared_memory_request remove_shared_memory_request"
).split()  # system calls of the assignment
LIBRARY = (
    "panic kerneltrap kernelvec usertrap syscall walk mappages memmove acquire release push_off pop_off "
    "sched"
).split()  # functions of xv6's own that a mistake elsewhere ends in


def rounded(size: int) -> int:
    """Up to a whole page."""
    return (size + PAGE - 1) & ~(PAGE - 1)


@dataclass
class Outcome:
    """How a call ended: with an answer, or with `error` and where that happened."""

    answer: Optional[Answer]
    error: Optional[Unanswered] = None
    frames: list[Frame] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Did it fail as it should, with nothing broken?"""
        return self.answer is not None and self.answer.failed

    @property
    def accepted(self) -> bool:
        """Did it return something that is no failure?"""
        return self.answer is not None and not self.answer.failed

    @property
    def value(self) -> int:
        """What it returned; -1 if it did not."""
        return self.answer.value if self.answer else -1

    @property
    def panic(self) -> str:
        """The panic's message; empty if there was none."""
        return self.error.text.removeprefix("panic: ") if isinstance(self.error, Panicked) else ""

    @property
    def lock_panic(self) -> bool:
        """Is it a panic about locks?"""
        return any(self.panic.startswith(name) for name in LOCK_PANICS)

    def __str__(self) -> str:
        if self.answer is not None:
            value = self.answer.value
            return f"returned {value}" if -4096 < value < 4096 else f"returned {value:#x}"
        where = chain_text(self.frames)
        return f"{self.error.text if self.error else '?'}" + (f" in {where}" if where else "")


def chain_text(frames: list[Frame]) -> str:
    """A backtrace in one line, innermost first."""
    return " < ".join(frame_text(f) for f in frames[:6] if f.function != "kernelvec")


def frame_text(frame: Frame) -> str:
    """`function (file:line)`."""
    line = f" ({frame.line[0]}:{frame.line[1]})" if frame.line else ""
    return f"{frame.function}{line}"


class Caught(Exception):
    """A finding that `debug` waits for, in its guest."""

    def __init__(self, session: Session, lines: list[str]):
        super().__init__(lines[0])
        self.session, self.lines = session, lines


class Enough(Exception):
    """All guests that were to be recorded have been."""


class Bench:
    """Runs one probe on one tree and keeps what it finds. known: ids that earlier stages found.

    record: numbers of guests of this probe, from 1, and the trace files they are recorded in.
    """

    def __init__(
        self, lab: Lab, shape: Shape, probe: str, known: frozenset[str] = frozenset(), cpus: int = 1
    ):
        self.lab, self.shape, self.probe, self.known, self.cpus = lab, shape, probe, known, cpus
        self.report = Report(str(lab.build.tree.origin))
        self.stop_at = ""  # the id at which `debug` wants to be
        self.hold: Callable[[Caught], None] = lambda caught: None  # what it does there
        self.session: Optional[Session] = None  # the guest of the moment, or the last one
        self.image: Optional[Path] = None  # its disk, if it has one of its own
        self.live = False  # is it there?
        self.guests = 0  # made so far
        self.number = 0  # of the guest of the moment; 0 between two
        self.record: dict[int, Path] = {}
        self.recorded: dict[int, Observer] = {}

    @contextmanager
    def guest(self, image: Optional[Path] = None) -> Iterator[tuple[Session, Calls]]:
        """A fresh guest, and this tree's way of mapping in it."""
        self.guests += 1
        outer, self.number = self.number, self.guests
        around = (self.session, self.image, True) if self.live else None
        number = self.number
        with self.lab.guest(cpus=self.cpus, image=image) as session:
            self.session, self.image, self.live = session, image, True
            observer = None
            if number in self.record:
                observer = observe(session, self.record[number], self.lab.folder)
                self.recorded[number] = observer
            try:
                yield session, Calls(session, self.shape)
            finally:
                self.number, self.live = outer, False
                if around:
                    self.session, self.image, self.live = around
                if observer:
                    observer.close()
        if self.record and number >= max(self.record):
            raise Enough

    def attempt(self, g: Session, call: Callable[[], Answer]) -> Outcome:
        """Makes a call that may panic or hang the guest."""
        try:
            return Outcome(call())
        except Unanswered as error:
            frames = []
            if isinstance(error, Panicked):
                try:
                    frames = g.backtrace()
                except GuestError:
                    pass
            return Outcome(None, error, frames)

    def farewell(self, g: Session, actor: Actor) -> Outcome:
        """An actor leaves and is reaped, which is when many earlier mistakes come out."""

        def leave() -> Answer:
            actor.exit()
            return g.main.ask("W")

        return self.attempt(g, leave)

    def find(
        self,
        id: str,
        sentence: str,
        evidence: list[str],
        function: str = "",
        line: Optional[tuple[str, int]] = None,
        elf: Optional[Elf] = None,
    ) -> None:
        """Books a finding. A second one of the same id adds its evidence to the first.

        function: where it is, if not where the catalogue has it; line: file and line, if not the
        function's own; elf: the program, if not the kernel.
        """
        if id not in ("K2", "K3") and self._stopped_by_lock(evidence):
            sentence, id, function, line = f"{sentence} A lock is the reason.", "K2", "", None
        for finding in self.report.findings:
            if finding.id == id:
                more = [e for e in [sentence, *evidence] if e not in finding.evidence]
                finding.evidence += more[: max(0, EVIDENCE - len(finding.evidence))]
                return
        if id == "K2" and not (function or line) and (frames := self._locking()):
            line = locker(frames)
            evidence = [*evidence, f"that lock is taken in {chain_text(frames)}"]
        if id == self.stop_at:
            raise self._held([sentence, *evidence])
        severity, _, homes = CATALOGUE[id]
        elf = elf or self.lab.elf
        for name in map(self.lab.numbers.named, (function, *homes) if function else homes):
            symbol = elf.symbols.get(name)
            if symbol and symbol.function:
                function = name
                line = line or elf.declared(name) or elf.line(symbol.address)
                break
        file, number = line or ("", 0)
        function = line and elf.function_at(*line) or function  # also one that was inlined
        reproduce = f"submit debug TREE {id}"
        docs = docs_page(id)
        self.report.findings.append(
            Finding(
                id,
                severity,
                sentence,
                function,
                file,
                number,
                evidence[:EVIDENCE],
                reproduce,
                docs,
                self.probe,
                self.number,
            )
        )

    def _held(self, lines: list[str]) -> Caught:
        """Shows the guest of a finding. If that is there no longer, another to which the same was said; a finding that
        no guest showed is said beside one.
        """
        if self.session and self.live:
            caught = Caught(self.session, lines)
            self.hold(caught)
            return caught
        with self.lab.guest(cpus=self.cpus, image=self.image) as again:
            try:
                again.repeat(self.session.given if self.session else [])
            except Unanswered:
                pass  # as it was then, perhaps
            caught = Caught(again, lines)
            self.hold(caught)
        return caught

    def _stopped_by_lock(self, evidence: list[str]) -> bool:
        """Is what was seen a panic about a lock? Of all that this could be a sign of, that is the nearest."""
        panic = (self.session and self.session.machine.panic) or ""
        return panic.startswith(LOCK_PANICS) and any(panic in line for line in evidence)

    def _locking(self) -> list[Frame]:
        """Where the guest of the moment took the lock that it has trouble with; empty if that can't be seen."""
        g = self.session
        if g is None or self.record:
            return []
        panic, frames, call = g.machine.panic, [], ""
        if panic is not None:
            frames = g.backtrace()
            calls = {self.lab.numbers.function(name) for name in SHARING}
            call = next((f.function for f in frames if f.function in calls), "") or ""
        if call and not (panic or "").startswith(TAKING):
            return frames
        return keeper(g, lambda: self.lab.guest(cpus=self.cpus), call) or (frames if call else [])

    def found(self, *ids: str) -> bool:
        """Is one of these findings booked?"""
        return any(f.id in ids for f in self.report.findings) or bool(self.known & set(ids))

    def undecided(self, id: str, why: str) -> None:
        """Books that an id could not be judged, unless it was found."""
        if not self.found(id):
            self.report.undecided.setdefault(id, why)


@dataclass
class Probe:
    """ids: what it can decide. needs: `map`, `unmap`, `queue`, `server`: what the tree must have.
    observable: its guests can be recorded; not where it uses QEMU's stub itself, or none. scene: what
    is recorded then, so that there is something to look at: the same call, made once more unwatched.
    """

    name: str
    ids: tuple[str, ...]
    needs: tuple[str, ...]
    run: Callable[[Bench], None]
    stage: int = 2  # probes of a stage run side by side, and know what earlier stages found
    observable: bool = True
    scene: Optional[Callable[[Bench], None]] = None


def one_mapping(bench: Bench) -> None:
    """A scene: a page is shared, and the holder leaves."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        bench.attempt(g, lambda: calls.share(g.main, child, g.arena, 64))
        bench.farewell(g, child)


def changes(before: Look, after: Look, pid: int) -> list[str]:
    """What differs in a process's pages and size, one line each; empty if nothing."""
    old, new = before.pages.get(pid, {}), after.pages.get(pid, {})
    lines = []
    if before.size(pid) != after.size(pid):
        lines.append(f"sz of pid {pid}: {before.size(pid):#x} before, {after.size(pid):#x} after")
    for va in sorted(old.keys() | new.keys()):
        a, b = old.get(va), new.get(va)
        if a is None and b is not None:
            lines.append(f"new in pid {pid}: {b}")
        elif b is None and a is not None:
            lines.append(f"gone from pid {pid}: {a}")
        elif a and b and a.pa != b.pa:
            lines.append(f"pid {pid}: {a} became {b}")
    return lines


def fresh(before: Look, after: Look, pid: int) -> list[int]:
    """Addresses of pages a process has got, in order."""
    return sorted(set(after.pages.get(pid, {})) - set(before.pages.get(pid, {})))


def culprit(outcome: Outcome) -> Optional[Frame]:
    """The innermost frame of a panic that is no helper of the kernel's."""
    for frame in outcome.frames:
        if frame.function and frame.function not in LIBRARY and frame.line:
            return frame
    return None


def locker(frames: list[Frame]) -> Optional[tuple[str, int]]:
    """The line that takes a lock it should not, of a chain that ends in acquire()."""
    for frame in frames:
        name = frame.function or ""
        if name and name not in (*LOCK_PANICS, *LIBRARY) and not FINDER.fullmatch(name):
            return frame.line
    return None


def fault_lines(g: Session) -> list[str]:
    """Console lines about processes the kernel killed for a fault."""
    return [line for line in g.talk if re.search(r"scause|stval|sepc|killed|fault", line)][-4:]
