"""A guest as the commands see it: kernel, processes read once per stop, harts' registers where
somebody has them.

gdb and xv6-inspect each make one; what they can do beyond reading memory, they override.
"""

from __future__ import annotations

import argparse
from typing import Any, Mapping, NoReturn, Optional, Sequence

from tools.gdb.report import Report
from tools.guest.kernel import Kernel
from tools.guest.memory import CoreMemory, GuestError
from tools.guest.processes import Process, Processes, in_slot
from tools.guest.programs import Programs
from tools.guest.sharing import Mappings
from tools.guest.snapshot import Snapshot

SATP_SV39 = 8
Registers = Mapping[int, Mapping[str, int]]


class Session:
    """What one command after the other asks of a guest."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.programs = Programs(kernel.elf.path)
        self.snapshots: dict[str, Snapshot] = {}
        self.follow: dict[int, int] = {}  # hart -> records of its ring shown so far
        self._slots: dict[int, int] = {}  # pid -> slot, as last seen
        self._processes: Optional[Processes] = None
        self._mappings: Optional[Mappings] = None

    def moved(self) -> None:
        """The guest has run: forget what was read."""
        self.kernel.memory.moved()
        self._processes = self._mappings = None

    @property
    def processes(self) -> Processes:
        """As of this stop."""
        if self._processes is None:
            self._processes = Processes(self.kernel)
            self._slots = {p.pid: p.slot for p in self._processes.used}
        return self._processes

    @property
    def mappings(self) -> Mappings:
        """As of this stop."""
        if self._mappings is None:
            self._mappings = Mappings(self.processes)
        return self._mappings

    def registers(self) -> Registers:
        """Each hart's registers by name; empty where only memory is known."""
        memory = self.kernel.memory
        if isinstance(memory, CoreMemory):
            return dict(enumerate(memory.registers))
        return {}

    def current_hart(self) -> Optional[int]:
        """The hart the user looks at; None where there is no such notion."""
        return None

    def satp(self, hart: int) -> Optional[int]:
        """A hart's satp register; None if it cannot be known."""
        return None

    def live(self) -> bool:
        """May the guest run while it is read?"""
        return False

    def evaluate(self, text: str) -> int:
        """A number in C's notation or a kernel symbol; raises GuestError."""
        try:
            return int(text, 0)
        except ValueError:
            symbol = self.kernel.elf.symbols.get(text)
            if symbol is None:
                raise GuestError(f"{text}: neither a number nor a symbol of the kernel") from None
            return symbol.address

    def keep_snapshot(self, name: str, snapshot: Snapshot) -> None:
        """Keeps a snapshot under a name."""
        self.snapshots[name] = snapshot

    def get_snapshot(self, name: str) -> Snapshot:
        """A snapshot kept before; raises GuestError naming those there are."""
        if name not in self.snapshots:
            known = ", ".join(sorted(self.snapshots)) or "none"
            raise GuestError(f"{name}: no snapshot of that name (there are: {known})")
        return self.snapshots[name]

    def process(self, text: str) -> Process:
        """By pid or name."""
        return self.processes.named(text)

    def table_owner(self, text: str) -> Process:
        """By pid or name, for its page table alone: its parent and hart may be left out. Looks
        first where the pid was, or where it is in a guest that has not reaped any.
        """
        if self._processes is None and text.isdecimal():
            pid = int(text)
            found = in_slot(self.kernel, self._slots.get(pid, pid - 1))
            if found is not None and found.pid == pid:
                return found
        return self.process(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise GuestError(f"{self.prog}: {message}")

    def exit(self, status: int = 0, message: Optional[str] = None) -> NoReturn:
        """Called by argparse after --help."""
        raise HelpShown(message or "")


class HelpShown(Exception):
    """--help has been asked for."""


class Command:
    """One command. Subclasses give a docstring (the help text), `name`, arguments, and run()."""

    name = ""
    prefixes: Sequence[str] = ()  # first words it takes, for completion

    def parser(self) -> Parser:
        """The command line, --json included."""
        made = Parser(
            prog=self.name,
            description=self.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.arguments(made)
        made.add_argument("--json", action="store_true", help="print JSON instead of tables")
        return made

    def arguments(self, parser: Parser) -> None:
        """Declares the command's own arguments."""

    def run(self, session: Session, args: Any) -> Report:
        """Reads the guest and reports; raises GuestError with one line if it cannot."""
        raise NotImplementedError

    def complete(self, session: Session, word: str) -> list[str]:
        """What may follow: options, first words, pids and names."""
        options = [
            o for a in self.parser()._actions for o in a.option_strings if o.startswith("--")
        ]
        words = [*self.prefixes, *options]
        try:
            with session.kernel.session():
                words += [w for p in session.processes.used for w in (str(p.pid), p.name)]
        except GuestError:
            pass
        return sorted({w for w in words if w and w.startswith(word)})


def span(text: str) -> tuple[int, int]:
    """`A..B` or `A`: first and last address of a range, both included."""
    first, dots, last = text.partition("..")
    try:
        low = int(first, 0) if first else 0
        high = int(last, 0) if last else (1 << 64) - 1
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not a range like 0x1000..0x2fff") from None
    if not dots:
        high = low
    if high < low:
        raise argparse.ArgumentTypeError(f"{text}: ends before it starts")
    return low, high
