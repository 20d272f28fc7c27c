"""Records what a guest does as a trace that tools/trace draws and judges, whatever kernel it is.

A kernel with trace rings of its own is read through them. Any other is watched through breakpoints on
the functions of hooks.py: at each stop the hart's registers and the guest's memory give the records that
the kernel would have written. The guest's own clock stands still meanwhile.
"""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.guest.stack import Frame, kernel_frames
from tools.guest.sv39 import U
from tools.submit.build import OURS, toolchain
from tools.submit.hooks import CALLS, LOCKED, LOCKS, Hook, Moment, State, hooks, present
from tools.submit.session import Session
from tools.submit.stub import CODE, Stop, Stub
from tools.trace.follow import Follower, describe, pump
from tools.trace.table import RECORD, Table
from tools.trace.tracefile import MASK, Writer

MOST = 20_000  # stops of one guest; then it runs on unobserved
RETURNS = (b"\x82\x80", b"\x67\x80\x00\x00")  # c.ret, ret
STACKS = ("alloc", "free", "pte_clear", "acquire")  # events whose callers are kept
WITHOUT_RING = "trace_event_table"


def events_table(folder: Path) -> Table:
    """The table of events for kernels that have none, compiled from ours into `folder`."""
    target = folder / "events"
    if not target.exists():
        source = Path(__file__).resolve().parent / "guest" / "events.c"
        command = [f"{toolchain()}gcc", "-g", "-ffreestanding", "-nostdlib", "-march=rv64imac"]
        command += ["-mabi=lp64", "-mcmodel=medany", "-I", str(OURS), "-Wl,--build-id=none"]
        command += ["-Wl,-e,0", "-Wl,-Ttext,0x80000000", "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GuestError(f"the table of events does not compile: {done.stderr.strip()}")
    return Table.of(Elf(str(target)))


class Rings:
    """Follows the rings of a kernel that has them, all events switched on."""

    def __init__(self, session: Session, path: Path):
        self.machine = session.machine
        self.follower = Follower(session.kernel, live=False)
        if not self.follower.find():
            raise GuestError("this kernel's trace rings are not there yet")
        found = session.kernel.elf.variable("trace_mask")
        where = session.kernel.to_pa(found[0]) if found else None
        assert where is not None
        self.machine.pause()
        on = sum(1 << i for i in self.follower.table.events)
        self.machine.memory.write(where, on.to_bytes(8, "little"))
        self.follower.skip()
        self.follower.started = True
        self.writer = Writer(path, self.follower.table)
        describe(self.follower, self.writer)
        now = self.machine.ticks()
        _snapshot(self.follower, self.writer, now, on)
        self.machine.run()

    def stack(self, sequence: int) -> list[Frame]:
        """Not known here."""
        return []

    def close(self) -> None:
        """Takes what the rings hold and ends the file."""
        with closing(self.writer):
            try:
                self.machine.pause()
                pump(self.follower, self.writer)
            except GuestError:
                pass  # the guest is gone


def _snapshot(follower: Follower, writer: Writer, now: int, mask: int) -> None:
    writer.chunk(b"process", follower.processes(now).tobytes())
    leaves = follower.mappings(now)
    writer.records(leaves[leaves["args"][:, 3] & U != 0])  # the trapframe is the kernel's
    writer.chunk(b"mask", np.array([(now, mask)], MASK).tobytes())


class Breakpoints:
    """Watches a guest through QEMU's stub; the machine lets it run and stops it through this."""

    def __init__(self, session: Session, path: Path, table: Table):
        self.session, self.machine, self.kernel = session, session.machine, session.kernel
        self.elf, self.table = session.kernel.elf, table
        self.state = State(self.kernel, session.numbers, present(self.kernel))
        self.stacks: dict[int, list[Frame]] = {}  # sequence of a record -> who caused it
        self.rows: list[tuple[Any, ...]] = []
        self.calls: dict[tuple[str, int], Moment] = {}  # (function, stack pointer) -> its entry
        # Return address and stack pointer of each call under way in which locks are watched.
        self.inside: set[tuple[int, int]] = set()
        self.stops = 0
        self.running = False
        self.entries: dict[int, tuple[str, Hook]] = {}
        self.ends: dict[int, tuple[str, Hook]] = {}
        chosen = {n: h for n, h in hooks(session.numbers).items() if self._known(n)}
        on = {table.id(e) for h in [*chosen.values(), *LOCKS.values()] for e in h.events}
        self.stub = Stub(str(self.machine.folder / "gdb"))
        follower = Follower(self.kernel, live=False, table=table)
        self.writer = Writer(path, table)
        calls = [session.numbers[n] for n in CALLS if n in session.numbers]
        describe(follower, self.writer, calls=calls, observed="by breakpoints")
        _snapshot(follower, self.writer, self.machine.ticks(), sum(1 << e for e in on if e >= 0))
        for name, hook in chosen.items():
            self._watch(name, hook)
        self.machine.watcher = self
        self.resume()

    def _known(self, name: str) -> bool:
        symbol = self.elf.symbols.get(name)
        return symbol is not None and symbol.function and symbol.size > 0

    def _watch(self, name: str, hook: Hook) -> None:
        symbol = self.elf.symbols[name]
        self.entries[symbol.address] = (name, hook)
        self.stub.insert(CODE, symbol.address)
        if hook.leave:
            for at in returns(self.elf, symbol.address, symbol.size):
                self.ends[at] = (name, hook)
                self.stub.insert(CODE, at)

    def _unwatch(self, names: dict[str, Hook]) -> None:
        for places in (self.entries, self.ends):
            for at in [a for a, (name, _) in places.items() if name in names]:
                del places[at]
                self.stub.remove(CODE, at)

    # What the machine asks for

    def fileno(self) -> int:
        """The stub's socket."""
        return self.stub.socket.fileno()

    def resume(self) -> None:
        """Lets the guest run."""
        if not self.running:
            self.stub.go()
            self.running = True

    def halt(self) -> None:
        """Stops the guest, and records what it stopped for meanwhile."""
        if self.running:
            self.running = False
            stop = self.stub.interrupt()
            if stop is not None:
                self._stopped(stop)

    def serve(self) -> None:
        """One stop, its records, and on."""
        stop = self.stub.wait(5.0)
        if stop is None:
            return
        self.running = False
        self._stopped(stop)
        self.resume()

    # What a stop means

    def _stopped(self, stop: Stop) -> None:
        registers = self.stub.registers(stop.hart)
        pc = registers["pc"]
        if pc not in self.entries and pc not in self.ends:
            return
        self.stops += 1
        try:
            if pc in self.entries:
                self._entered(stop.hart, registers, *self.entries[pc])
            else:
                self._left(stop.hart, registers, *self.ends[pc])
            if pc in self.ends:
                self._came_back(registers)
        except GuestError:
            pass  # a broken kernel's pointers lead nowhere: no record of it
        if self.stops == MOST:
            self._unwatch(
                {name: hook for name, hook in [*self.entries.values(), *self.ends.values()]}
            )
        else:
            self.stub.step(stop.hart)

    def _entered(self, hart: int, registers: dict[str, int], name: str, hook: Hook) -> None:
        arguments = [registers[f"a{i}"] for i in range(8)]
        moment = Moment(
            self.state, self._process(hart), arguments, registers["ra"], registers["pc"]
        )
        if hook.keep:
            moment.before = hook.keep(moment)
        self.calls[name, registers["sp"]] = moment
        if hook.enter:
            self._tell(hart, registers, moment, hook.enter)
        if name in map(self.session.numbers.function, LOCKED):
            self.inside.add((registers["ra"], registers["sp"]))
            if registers["ra"] not in self.ends:
                self.ends[registers["ra"]] = name, Hook(())
                self.stub.insert(CODE, registers["ra"])
            if len(self.inside) == 1:
                for lock, locking in LOCKS.items():
                    if self._known(lock):
                        self._watch(lock, locking)

    def _came_back(self, registers: dict[str, int]) -> None:
        """At an address a system call returns to: its own last act may have been a jump, so no return
        instruction of it need have been passed.
        """
        call = registers["pc"], registers["sp"]
        if call in self.inside:
            self.inside.remove(call)
            if not self.inside:
                self._unwatch(LOCKS)

    def _left(self, hart: int, registers: dict[str, int], name: str, hook: Hook) -> None:
        moment = self.calls.pop((name, registers["sp"]), None)
        if moment is None:
            return  # it was entered before the recording began
        moment.result, moment.process = registers["a0"], self._process(hart)
        if hook.leave:
            self._tell(hart, registers, moment, hook.leave)

    def _process(self, hart: int) -> Any:
        cpus = self.kernel.records("cpus")
        return self.state.process(cpus[hart].number("proc")) if hart < len(cpus) else None

    def _tell(self, hart: int, registers: dict[str, int], moment: Moment, tell: Any) -> None:
        now = self.machine.ticks()
        for event, arguments in tell(moment):
            sequence = len(self.rows) + 1
            slots = list(arguments)
            if slots and isinstance(slots[-1], bytes):
                text = slots.pop().ljust(16, b"\0")
                slots += [int.from_bytes(text[i : i + 8], "little") for i in (0, 8)]
            slots = [s & (1 << 64) - 1 for s in slots] + [0] * (5 - len(slots))
            self.rows.append((now, sequence, self.table.id(event), hart, moment.pid, slots))
            if event in STACKS:
                self.stacks[sequence] = self._callers(registers, moment)

    def _callers(self, registers: dict[str, int], moment: Moment) -> list[Frame]:
        """Who called the hooked function; at its first and last instruction its own frame is not there."""
        at = {**registers, "pc": moment.entry, "ra": moment.caller}
        return kernel_frames(self.kernel, None, at)[1:]

    def stack(self, sequence: int) -> list[Frame]:
        """Who caused the record of that number."""
        return self.stacks.get(sequence, [])

    def close(self) -> None:
        """Ends the file; the guest stays stopped."""
        self.machine.watcher = None
        with closing(self.writer):
            if self.rows:
                self.writer.records(np.array([(*r[:5], tuple(r[5])) for r in self.rows], RECORD))
        self.stub.socket.close()


Observer = Rings | Breakpoints


def observe(session: Session, path: Path, folder: Path) -> Observer:
    """Begins to record a session into the file `path`. folder: for the table of events."""
    if session.kernel.elf.variable(WITHOUT_RING) is not None:
        return Rings(session, path)
    return Breakpoints(session, path, events_table(folder))


def returns(elf: Elf, address: int, size: int) -> list[int]:
    """Addresses of a function's return instructions, found by instruction lengths (ISA manual 1.5)."""
    code, found, at = elf.bytes_at(address, size), [], 0
    while at < size:
        length = 4 if code[at] & 3 == 3 else 2
        if code[at : at + length] in RETURNS:
            found.append(address + at)
        at += length
    return found
