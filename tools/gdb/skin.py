"""Puts the commands into gdb: arguments in, text out, and a session that knows when the guest has
moved.

Everything a command reads goes through tools/guest; gdb is asked only for registers, expressions
and events.
"""

from __future__ import annotations

import os
import re
from typing import Any, Optional, Type

import gdb

from tools.gdb.commands import COMMANDS
from tools.gdb.inferior import InferiorMemory
from tools.gdb.report import to_json, to_text
from tools.gdb.session import Command, HelpShown, Registers, Session
from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import REGISTERS, CachedMemory, CoreMemory, GuestError
from tools.guest.ring import rings
from tools.guest.snapshot import Snapshot


class GdbSession(Session):
    """The guest gdb is connected to."""

    def __init__(self, kernel: Kernel, inferior: Optional[InferiorMemory]):
        super().__init__(kernel)
        self.inferior = inferior  # None for a core
        self.following = False

    def gdb_is_asked(self) -> None:
        """To be called before anything else of gdb is used: it needs virtual addresses."""
        if self.inferior is not None:
            self.inferior.leave()

    def registers(self) -> Registers:
        """Every hart's, outside physical mode: gdb may unwind, and read memory, to tell them."""
        self.gdb_is_asked()
        selected = gdb.selected_thread()
        found: dict[int, dict[str, int]] = {}
        try:
            for thread in gdb.selected_inferior().threads():
                thread.switch()
                values = {n: int(gdb.parse_and_eval(f"(unsigned long)${n}")) for n in NAMES}
                found[thread.num - 1] = values
        except gdb.error:
            return found
        finally:
            if selected is not None:
                selected.switch()
        return found

    def current_hart(self) -> Optional[int]:
        thread = gdb.selected_thread()
        return thread.num - 1 if thread else None

    def satp(self, hart: int) -> Optional[int]:
        self.gdb_is_asked()
        selected = gdb.selected_thread()
        threads = {t.num - 1: t for t in gdb.selected_inferior().threads()}
        if hart not in threads:
            raise GuestError(f"there is no hart {hart} (there are: {sorted(threads)})")
        try:
            threads[hart].switch()
            return int(gdb.parse_and_eval("(unsigned long)$satp"))
        except gdb.error:
            return None
        finally:
            if selected is not None:
                selected.switch()

    def evaluate(self, text: str) -> int:
        try:
            return int(text, 0)
        except ValueError:
            self.gdb_is_asked()
        try:
            value = gdb.parse_and_eval(text)
            if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY):
                value = value.address
            return int(value.cast(gdb.lookup_type("unsigned long")))
        except gdb.error as e:
            raise GuestError(f"{text}: {e}") from None


NAMES = [n for n in REGISTERS if n != "s0"] + ["s0"]
_session: Optional[GdbSession] = None


def session() -> GdbSession:
    """The session with the guest gdb is connected to, made at first use; raises GuestError without
    one.
    """
    global _session
    if _session is None:
        elf = Elf(kernel_path())
        if gdb.selected_inferior().pid == 0:
            raise GuestError("no guest: connect with 'target remote :PORT' (QEMU's -gdb port)")
        core = core_path()
        if core is not None:
            _session = GdbSession(Kernel(elf, CoreMemory(core)), None)
        else:
            memory = InferiorMemory()
            _session = GdbSession(Kernel(elf, CachedMemory(memory)), memory)
    return _session


def kept_snapshots() -> dict[str, Snapshot]:
    """What `snapshot` has kept in this session; a recording that starts again takes it along."""
    return _session.snapshots if _session is not None else {}


def core_path() -> Optional[str]:
    """The core file gdb has been given; None if its target is another."""
    connection = gdb.selected_inferior().connection
    if connection is None or connection.type != "core":
        return None
    found = re.search(
        r"Local core dump file:\s*`(.*)', file type", gdb.execute("info files", to_string=True)
    )
    return found[1] if found else None


def kernel_path() -> str:
    """The kernel's executable: the first file gdb was given."""
    name = gdb.current_progspace().filename
    if not name:
        raise GuestError("no kernel: start gdb with it, or load it with 'file kernel/kernel'")
    return str(name)


def _moved(_event: Any = None) -> None:
    if _session is not None:
        _session.moved()


def _gone(_event: Any = None) -> None:
    global _session
    if _session is not None:
        _session.kernel.memory.close()
        _session = None


def _stopped(event: Any) -> None:
    _moved(event)
    if _session is not None and _session.following and rings_are_there(_session):
        run(next(c for c in COMMANDS if c.name == "shmtrace")(), ["--follow"])


def rings_are_there(s: GdbSession) -> bool:
    """Has the kernel made its trace rings yet?"""
    try:
        with s.kernel.session():
            return bool(rings(s.kernel))
    except GuestError:
        return False


def colour() -> bool:
    """Only where gdb itself uses colour: on a terminal."""
    dumb = os.environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in os.environ
    return bool(gdb.parameter("style enabled")) and os.isatty(1) and not dumb


def run(command: Command, words: list[str]) -> None:
    """Carries out one command and prints; what is wrong becomes one line."""
    try:
        args = command.parser().parse_args(words)
        s = session()
        with s.kernel.session():
            report = command.run(s, args)
        if command.name == "shmtrace" and args.follow:
            s.following = args.follow == "on"
        text = to_json(report) if args.json else to_text(report, colour())
    except HelpShown as shown:
        text = str(shown)
    except GuestError as error:
        raise gdb.GdbError(str(error)) from None
    if text:
        gdb.write(text.rstrip("\n") + "\n")


class GdbCommand(gdb.Command):  # type: ignore[misc]
    """One command under its name."""

    def __init__(self, kind: Type[Command]):
        self.command = kind()
        self.__doc__ = kind.__doc__
        super().__init__(kind.name, gdb.COMMAND_DATA)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        """Called by gdb."""
        run(self.command, gdb.string_to_argv(argument))

    def complete(self, _text: str, word: str) -> list[str]:
        """Called by gdb, which may offer `--perm` as a word of its own, without the dashes."""
        try:
            s = session()
        except (GuestError, gdb.error):
            return []
        dashes = _text[: len(_text) - len(word)].rpartition(" ")[2]
        found = self.command.complete(s, dashes + word)
        return [w[len(dashes) :] for w in found]


def install() -> None:
    """Registers everything with gdb."""
    for kind in COMMANDS:
        GdbCommand(kind)
    gdb.events.stop.connect(_stopped)
    gdb.events.cont.connect(_moved)
    gdb.events.memory_changed.connect(_moved)
    gdb.events.register_changed.connect(_moved)
    gdb.events.exited.connect(_gone)
    gdb.events.new_objfile.connect(_new_objfile)
    gdb.events.gdb_exiting.connect(_gone) if hasattr(gdb.events, "gdb_exiting") else None
    if hasattr(gdb.events, "connection_removed"):
        gdb.events.connection_removed.connect(_gone)


def _new_objfile(event: Any) -> None:
    """A kernel built anew: its symbols have changed."""
    if _session is not None and event.new_objfile.filename == _session.kernel.elf.path:
        _gone()
