"""user: the symbols of a user program, and breakpoints that stop only in one process.

All programs are linked at address 0, so a breakpoint by address stops in whichever program runs
there. Each stop compares the hart's satp with the process's root; a kernel that gives user and
kernel one address space each, as xv6 does, is told apart by it too.
"""

from __future__ import annotations

from typing import Optional

import gdb

from tools.gdb import skin
from tools.gdb.session import HelpShown, Parser
from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.guest.processes import Process, Processes

_loaded: dict[str, str] = {}  # program -> path of the file whose symbols gdb has


class UserBreakpoint(gdb.Breakpoint):  # type: ignore[misc]
    """Stops where one process is about to execute, by pid, or any process of a program."""

    def __init__(self, where: str, pid: Optional[int], name: str):
        super().__init__(where)
        self.pid, self.name = pid, name

    def stop(self) -> bool:
        """Called by gdb on a hit; True to stop."""
        s = skin.session()
        try:
            s.moved()
            hart = s.current_hart()
            root = None if hart is None else s.satp(hart)
            with s.kernel.session():
                found = Processes(s.kernel)
                runs = next((p for p in found.used if root and p.root == root_of(root)), None)
                if runs is None and hart is not None and hart < len(found.harts):
                    runs = found.harts[hart].process
        except GuestError:
            return True
        return runs is not None and (runs.pid == self.pid if self.pid else runs.name == self.name)


def root_of(satp: int) -> int:
    """The root page a satp register points to."""
    return (satp & (1 << 44) - 1) << 12


class User(gdb.Command):  # type: ignore[misc]
    """user [PROGRAM | PID] [FUNCTION]

    Loads the symbols of a user program, by its name or a process that runs it, so that breakpoints,
    backtraces and 'list' know it. With FUNCTION also sets a breakpoint there that stops only in
    that process (for a name: in any process of that program); FILE:LINE will do too. Without
    arguments: lists the programs there are. 'user off' forgets the symbols. One program's symbols
    are loaded at a time, since all programs lie at the same addresses; breakpoints stay.
    """

    def __init__(self) -> None:
        super().__init__("user", gdb.COMMAND_RUNNING)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        """Called by gdb."""
        parser = Parser(prog="user", description=self.__doc__)
        parser.add_argument("program", nargs="?")
        parser.add_argument("function", nargs="?")
        try:
            args = parser.parse_args(gdb.string_to_argv(argument))
            self.run(args.program, args.function)
        except HelpShown:
            return
        except GuestError as error:
            raise gdb.GdbError(str(error)) from None

    def run(self, program: Optional[str], function: Optional[str]) -> None:
        """Does what the help says; raises GuestError."""
        s = skin.session()
        if program is None:
            gdb.write(" ".join(s.programs.names()) + "\n")
            return
        if program == "off":
            for name in list(_loaded):
                forget(name)
            return
        process: Optional[Process] = None
        if program.isdecimal():
            with s.kernel.session():
                process = s.process(program)
        name = process.name if process else program
        elf = s.programs.find(name)
        if elf is None:
            raise GuestError(f"{name}: no program _{name} in " + ", ".join(s.programs.folders[:3]))
        load(name, elf)
        if function is None:
            return
        pid = process.pid if process else None
        try:
            made = UserBreakpoint(f"*{place_of(elf, function):#x}", pid, name)
        except gdb.error as e:
            raise GuestError(f"{function}: {e}") from None
        only = f"pid {pid}" if process else f"processes of {name}"
        gdb.write(f"Breakpoint {made.number} stops only in {only}\n")

    def complete(self, text: str, word: str) -> list[str]:
        """Programs and pids, then functions."""
        try:
            s = skin.session()
            words = text.split()
            if len(words) > 1 or (words and text.endswith(" ")):
                elf = s.programs.find(words[0])
                names = [n for n, f in elf.symbols.items() if f.function] if elf else []
            else:
                names = s.programs.names()
        except (GuestError, gdb.error):
            return []
        return sorted(n for n in names if n.startswith(word))


def place_of(elf: Elf, where: str) -> int:
    """The address of FILE:LINE, or where a function's own work begins, as gdb sees it in the symbols
    just loaded; raises gdb.error. By address, because other programs' symbols may follow.
    """
    symbol = elf.symbols.get(where)
    lines = gdb.decode_line(f"*{symbol.address:#x}" if symbol else where)[1]
    if not symbol:
        return int(lines[0].pc)
    if not lines or not lines[0].symtab:
        return symbol.address
    later: list[int] = sorted(e.pc for e in lines[0].symtab.linetable() if e.pc > symbol.address)
    return later[0] if later and later[0] - symbol.address <= 64 else symbol.address


def load(name: str, elf: Elf) -> None:
    """Adds a program's symbols to gdb's in the place of another's: all lie at the same addresses."""
    if _loaded.get(name) == elf.path:
        return
    for other in list(_loaded):
        forget(other)
    gdb.execute(f'add-symbol-file "{elf.path}"', to_string=True)
    _loaded[name] = elf.path
    gdb.write(f"symbols of {name} from {elf.path}\n")


def forget(name: str) -> None:
    """Takes a program's symbols away again."""
    path = _loaded.pop(name, None)
    if path:
        gdb.execute(f'remove-symbol-file "{path}"', to_string=True)


def _stopped(event: object) -> None:
    """At a breakpoint of a program whose symbols are not those loaded: loads them, and says anew
    where that is.
    """
    for hit in getattr(event, "breakpoints", ()):
        if isinstance(hit, UserBreakpoint) and hit.name not in _loaded:
            elf = skin.session().programs.find(hit.name)
            if elf is not None:
                load(hit.name, elf)
                gdb.execute("frame")


def install() -> None:
    """Registers the command."""
    User()
    gdb.events.stop.connect(_stopped)
