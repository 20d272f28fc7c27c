"""The commands on a recorded run: replay, who-wrote, and gdb's reverse ones while one is replayed.

tools/gdb/replay.py does the moving. gdb's own reverse commands would hang QEMU 7.2, so they are
replaced as soon as a recording is replayed: reverse-stepi, reverse-continue and reverse-finish by
ours, the others by one line that says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import gdb

from tools.gdb import replay, skin
from tools.gdb.session import HelpShown, Parser
from tools.gdb.user import root_of
from tools.guest.elf import Elf
from tools.guest.memory import PAGE, GuestError
from tools.guest.processes import Process
from tools.guest.sv39 import walk

FORWARD = ("continue", "step", "next", "stepi", "nexti", "finish", "until", "advance")
TYPES = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}
USER_END = 1 << 38  # addresses below are a program's, unless the kernel is mapped there
FEATURELESS = ("reverse-step", "reverse-next", "reverse-nexti")


class ReplayCommand(gdb.Command):  # type: ignore[misc]
    """A command that moves through a recording; its errors are one line."""

    name = ""

    def __init__(self) -> None:
        super().__init__(self.name, gdb.COMMAND_RUNNING)

    def arguments(self, parser: Parser) -> None:
        """Declares the command's arguments."""

    def run(self, args: Any) -> None:
        """Does what the help says; raises GuestError."""
        raise NotImplementedError

    def invoke(self, argument: str, _from_tty: bool) -> None:
        """Called by gdb."""
        parser = Parser(prog=self.name, description=self.__doc__)
        self.arguments(parser)
        words = [
            w if not re.fullmatch(r"-\d+", w) else f" {w}" for w in gdb.string_to_argv(argument)
        ]
        try:
            self.run(parser.parse_args(words))
        except HelpShown as shown:
            gdb.write(str(shown))
        except GuestError as error:
            raise gdb.GdbError(str(error)) from None


class Replay(ReplayCommand):
    """replay [DIR] | replay goto N | replay goto +N | replay goto -N | replay goto end | replay info

    Replays the run that 'make record' recorded (in DIR, else build/recording), from its first
    instruction; again and again, and always exactly the same. 'goto' moves to the N-th instruction
    since power-on, or by N, past breakpoints; 'info' tells the instruction. Meanwhile
    reverse-stepi, reverse-continue (to the last breakpoint hit before now) and reverse-finish work,
    and who-wrote finds the last write to an address.
    """

    name = "replay"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("what", nargs="?", help="a recording's folder, goto or info")
        parser.add_argument("where", nargs="?", help="N, +N, -N or end")

    def run(self, args: Any) -> None:
        if args.what == "goto":
            self.goto((args.where or "").strip())
        elif args.what == "info":
            self.tell(replay.player())
        elif args.where is not None:
            raise GuestError(f"replay: {args.what}: neither goto nor info")
        else:
            take_over()
            player = replay.start(Path(args.what).resolve() if args.what else replay.FOLDER)
            self.tell(player)

    @staticmethod
    def tell(player: replay.Player) -> None:
        """Where the replay is."""
        more = len(player.snapshots()) - 1
        gdb.write(
            f"instruction {player.position()} of {player.folder}; {more} snapshots on the way\n"
        )

    @staticmethod
    def goto(where: str) -> None:
        """Moves to N, +N, -N or end."""
        player = replay.player()
        if where == "end":
            gdb.write(player.goto_end() + "\n")
        elif re.fullmatch(r"[-+]?\d+", where):
            target = int(where) + (player.position() if where[0] in "+-" else 0)
            if target < 0:
                raise GuestError(f"replay goto {where}: before the first instruction")
            player.goto(target)
        else:
            raise GuestError(f"replay goto {where}: want N, +N, -N or end")
        gdb.execute("frame")


class ReverseStepi(ReplayCommand):
    """reverse-stepi [N]: back by one instruction, or N."""

    name = "reverse-stepi"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("count", nargs="?", default="1")

    def run(self, args: Any) -> None:
        player = replay.player()
        if not args.count.isdecimal():
            raise GuestError(f"reverse-stepi {args.count.strip()}: want a number of instructions")
        player.goto(max(0, player.position() - int(args.count)))
        gdb.execute("frame")


class ReverseContinue(ReplayCommand):
    """reverse-continue: back to the last breakpoint or watchpoint hit before now."""

    name = "reverse-continue"

    def run(self, args: Any) -> None:
        found = replay.player().back_to_hit()
        if not found:
            gdb.write("no breakpoint was hit before; still where you were\n")
        gdb.execute("frame")


class ReverseFinish(ReplayCommand):
    """reverse-finish: back to the instruction that called this function."""

    name = "reverse-finish"

    def run(self, args: Any) -> None:
        player = replay.player()
        function, caller = gdb.selected_frame().function(), gdb.selected_frame().older()
        if function is None or caller is None:
            raise GuestError("reverse-finish: no function and caller are known here")
        stack = int(caller.read_register("sp"))  # as it was at the call
        entry = int(function.value().address)
        call = gdb.Breakpoint(f"*{entry:#x}", internal=True)
        call.condition = f"$sp == {stack:#x}"  # this call's, not an inner one's
        call.enabled = False
        here = player.position()
        try:
            with player.quiet():
                at = player.last([call], here + 1)
                player.goto(here if at is None else max(0, at - 1))
        finally:
            call.delete()
        if at is None:
            raise GuestError("reverse-finish: the call is not in the recording")
        gdb.execute("frame")


class Featureless(ReplayCommand):
    """Not offered on a recording: use reverse-stepi, reverse-continue or reverse-finish."""

    def __init__(self, name: str):
        self.name = name
        super().__init__()

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("rest", nargs="*")

    def run(self, args: Any) -> None:
        raise GuestError(
            f"{self.name} is {(self.__doc__ or '')[0].lower()}{(self.__doc__ or '')[1:]}"
        )


class ReplayMore(ReplayCommand):
    """replay-more: fails where the recording ends; what gdb runs before it runs the guest."""

    name = "replay-more"

    def run(self, args: Any) -> None:
        replay.check_more()


class Place(NamedTuple):
    """Bytes of the guest's memory whose writes are looked for."""

    label: str
    pa: int
    size: int
    addresses: list[int]  # virtual addresses that reach them, the kernel's first


class Write(gdb.Breakpoint):  # type: ignore[misc]
    """Stops after a write that changes what lies at a virtual address, if the address means `pa`."""

    def __init__(self, va: int, place: Place):
        kind = f"{TYPES[place.size]} *" if place.size in TYPES else f"char (*)[{place.size}]"
        super().__init__(
            f"*({kind}) {va:#x}", gdb.BP_WATCHPOINT, wp_class=gdb.WP_WRITE, internal=True
        )
        self.silent = True
        self.va, self.pa = va, place.pa
        self.enabled = False

    def stop(self) -> bool:
        """Called by gdb on a hit; True to stop."""
        if self.va >= USER_END or self.va == self.pa:
            return True
        s = skin.session()
        s.moved()
        root = s.satp(s.current_hart() or 0)
        with s.kernel.session():
            return bool(root) and walk(s.kernel.memory, root_of(root or 0), self.va).pa == self.pa


class WhoWrote(ReplayCommand):
    """who-wrote ADDRESS [PID] [--entry] [--size N]

    In a replayed recording: goes back to the last write before now that changed the N bytes (8) at
    ADDRESS, and stops after it. ADDRESS is an expression: a physical or kernel address, &variable,
    or with PID (or a name) an address of that process; --entry asks for the page-table entry that
    maps ADDRESS there. Writes through any mapping of the frame that exists now are seen, the
    kernel's and all processes'; those before paging is on, and those of devices, are not.
    """

    name = "who-wrote"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument(
            "address", help="expression: physical, kernel, or the process's address"
        )
        parser.add_argument("process", nargs="?", help="pid or name; the address is then its own")
        parser.add_argument("--entry", action="store_true", help="the entry that maps ADDRESS")
        parser.add_argument(
            "--size", type=int, help="bytes, 1 to 64; default: what & points to, or 8"
        )

    def run(self, args: Any) -> None:
        player = replay.player()
        if args.size is not None and not 1 <= args.size <= 64:
            raise GuestError(f"who-wrote: --size {args.size}: want 1 to 64 bytes")
        s = skin.session()
        with s.kernel.session():
            place = self.find(s, args)
            here = player.position()
        watches = [Write(va, place) for va in place.addresses]
        try:
            with player.quiet():
                at = player.last(list(watches), here + 1)
                player.goto(here if at is None else at - 1)
        finally:
            for w in watches:
                w.delete()
        if at is None:
            raise GuestError(f"{place.label}: never changed before now (or before paging was on)")
        self.tell(player, place, at, here)

    @staticmethod
    def find(s: skin.GdbSession, args: Any) -> Place:
        """The bytes the arguments mean, and every address that reaches them."""
        address, size = s.evaluate(args.address), args.size or pointed(args.address) or 8
        if args.process:
            process = s.process(args.process)
            if process.root is None:
                raise GuestError(f"{process.label} has no page table")
            way = walk(s.kernel.memory, process.root, address)
            label = f"{address:#x} in {process.label}"
            pa = way.pa
            if args.entry:
                step = way.steps[-1]
                label, pa, size = f"level {step.level} entry of {label}", step.address, 8
        elif args.entry:
            raise GuestError("who-wrote --entry wants a process, too")
        else:
            label, pa = args.address, s.kernel.to_pa(address)
        if pa is None or not s.kernel.memory.contains(pa, size):
            raise GuestError(f"{label}: no RAM is there now")
        addresses = [pa + s.kernel.direct]
        if not args.process and address >= USER_END:
            addresses.append(address)
        frame = pa & -PAGE
        if frame in s.mappings.frames and not args.entry:
            addresses += [m.va + pa - frame for m in s.mappings.frames[frame]]
        return Place(label, pa, size, list(dict.fromkeys(addresses)))

    @staticmethod
    def tell(player: replay.Player, place: Place, at: int, here: int) -> None:
        """Steps over the write and says all about it."""
        s = skin.session()
        with s.kernel.session():
            before = s.kernel.memory.read(place.pa, place.size)
            process = s.processes.harts[0].process if s.processes.harts else None
        pc = int(gdb.parse_and_eval("(unsigned long)$pc"))
        with player.quiet():
            player.goto(at)
        s = skin.session()
        s.moved()
        with s.kernel.session():
            after = s.kernel.memory.read(place.pa, place.size)
        who = process.label if process else "no process"
        gdb.write(f"{place.label}: {number(before)} -> {number(after)}\n")
        gdb.write(f"written at {pc:#x} {where(s, pc, process)}, by {who},\n")
        gdb.write(f"instruction {at}, {here - at} before where you were: 'replay goto {here}'\n")
        gdb.execute("frame")


def pointed(expression: str) -> Optional[int]:
    """Bytes that a pointer expression points to; None if it is no pointer, or to nothing sized."""
    try:
        kind = gdb.parse_and_eval(expression).type.strip_typedefs()
        if kind.code != gdb.TYPE_CODE_PTR:
            return None
        size = int(kind.target().sizeof)
    except gdb.error:
        return None
    return size if 1 <= size <= 64 else None


def where(s: skin.GdbSession, pc: int, process: Optional[Process]) -> str:
    """Function and line of an instruction, the kernel's or a program's."""
    elf: Optional[Elf] = s.kernel.elf
    if s.kernel.elf.nearest(pc) is None:
        elf = s.programs.find(process.name) if process else None
    found, line = (elf.nearest(pc), elf.line(pc)) if elf else (None, None)
    if found is None:
        return "in the program"
    return found[0].name + (f" ({line[0]}:{line[1]})" if line else "")


def number(data: bytes) -> str:
    """A value in memory as a number, or as bytes when it is too long for one."""
    return f"{int.from_bytes(data, 'little'):#x}" if len(data) <= 8 else data.hex(" ", 8)


_taken = False


def take_over() -> None:
    """Replaces gdb's own reverse commands."""
    global _taken
    if not _taken:
        _taken = True
        makers: list[Callable[[], Any]] = [ReverseStepi, ReverseContinue, ReverseFinish, ReplayMore]
        for make in makers:
            make()
        for name in FEATURELESS:
            Featureless(name)
        for name in FORWARD:
            gdb.execute(f"define hook-{name}\nreplay-more\nend")


def install() -> None:
    """Registers the commands with gdb."""
    Replay()
    WhoWrote()
    gdb.events.stop.connect(replay.stopped)
    gdb.events.gdb_exiting.connect(replay.finish)
