"""`record`: boots a guest, types commands, and keeps every event from power-on to the last prompt. `attach`: the
same from a guest that already runs, is halted, or is dead.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

from tools.guest import Kernel, open_guest
from tools.guest.elf import Elf
from tools.guest.memory import FileMemory
from tools.trace.console import LINE, ROOT, Console
from tools.trace.follow import QUICK, SLOW, Follower, describe, pump, snapshot
from tools.trace.table import Table
from tools.trace.tracefile import TraceError, Writer

RING = 131072  # records of each hart's ring in a recorded guest: a follower on a busy machine may be late
PROGRESS = 0.5  # seconds between two lines of progress


class Progress:
    """A line on a terminal that says how far long work is; nothing where there is no terminal."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self.last = 0.0

    def say(self, text: str) -> None:
        """Replaces the line, now and then."""
        if self.shown and time.monotonic() - self.last > PROGRESS:
            self.last = time.monotonic()
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clears the line."""
        if self.shown and self.last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def command_lines(words: list[str]) -> list[str]:
    """The lines to type: what stands after --, cut at semicolons. Raises TraceError for one too long to type."""
    lines = [line.strip() for line in " ".join(words).split(";")]
    for line in lines:
        if len(line) > LINE:
            raise TraceError(
                f"{line[:20]}...: the guest's console takes {LINE} characters in a line"
            )
    return [line for line in lines if line]


def record(
    output: Path,
    lines: list[str],
    kernel: Path,
    image: Path,
    *,
    cpus: int = 3,
    mem: str = "128M",
    events: str = "all",
    ring: int = RING,
    keep: bool = False,
) -> dict[str, int]:
    """Records a guest that runs `lines` at its prompt. Returns counts: events, lost, panicked (0 or 1).

    Raises TraceError or GuestError when there is nothing to record.
    """
    for path in (kernel, image):
        if not path.is_file():
            raise TraceError(f"{path}: no such file; 'make' builds it")
    table = Table.of(Elf(str(kernel)))
    try:
        table.select(events)
    except ValueError as error:
        raise TraceError(str(error)) from None
    progress = Progress()
    console = Console(kernel, image, cpus, mem, f"trace={events} trace_records={ring}")
    writer = Writer(output, table)
    with closing(writer), closing(console):
        follower = Follower(Kernel(Elf(str(kernel)), FileMemory(console.info["ram"])), live=True)
        console.run(lines)
        while not follower.find():
            if console.done.wait(SLOW / 4):
                raise TraceError(f"the guest {console.error or 'ended'} before it made its rings")
        describe(follower, writer, commands=lines)
        while not console.done.is_set():
            if pump(follower, writer) == 0:
                console.done.wait(SLOW)
            else:
                time.sleep(QUICK)
            progress.say(f"{writer.count} events, {follower.lost} lost")
        pump(follower, writer)
        if keep:
            print(console.said(), file=sys.stderr)
        if console.error and not console.panicked:
            print(f"xv6-trace: the guest {console.error}; the trace ends there", file=sys.stderr)
        if console.panicked:
            print(
                "xv6-trace: the guest panicked; its last events are in the trace", file=sys.stderr
            )
    progress.end()
    return {"events": writer.count, "lost": follower.lost, "panicked": int(console.panicked)}


def attach(output: Path, kernel: Kernel, *, live: bool, seconds: float | None) -> dict[str, int]:
    """Records a guest that is there: once if it does not run, else for `seconds` or until interrupted."""
    follower = Follower(kernel, live)
    if not follower.find():
        raise TraceError(f"{kernel.elf.path}: this guest has no trace rings (yet)")
    progress = Progress()
    writer = Writer(output, follower.table)
    with closing(writer):
        describe(follower, writer)
        snapshot(follower, writer)
        pump(follower, writer)
        end = time.monotonic() + seconds if seconds is not None else None
        try:
            while live and (end is None or time.monotonic() < end):
                time.sleep(QUICK if pump(follower, writer) else SLOW)
                progress.say(f"{writer.count} events, {follower.lost} lost; ^C ends")
        except KeyboardInterrupt:
            pass
    progress.end()
    return {"events": writer.count, "lost": follower.lost, "panicked": 0}


def running() -> Path:
    """The memory file of the one guest that runs from this tree; raises TraceError if there is not one."""
    found = sorted((ROOT / "build" / "run").glob("*/ram"))
    if len(found) == 1:
        return found[0]
    many = "none runs" if not found else "several run: " + ", ".join(str(p) for p in found)
    raise TraceError(f"which guest? {many}; say --ram FILE")


def open_source(options: argparse.Namespace) -> tuple[Kernel, bool]:
    """The guest that --ram, --gdb, --dump or --core names (or the one that runs), and whether it lives."""
    kernel = str(options.kernel)
    if not Path(kernel).is_file():
        raise TraceError(f"{kernel}: no such file; 'make' builds it")
    if options.gdb:
        return open_guest(kernel, connect=options.gdb), False
    if options.core:
        return open_guest(kernel, core=options.core), False
    if options.dump:
        return open_guest(kernel, ram=options.dump), False
    return open_guest(kernel, ram=options.ram or str(running())), True


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declares the options that name a guest."""
    group = parser.add_argument_group("the guest").add_mutually_exclusive_group()
    group.add_argument(
        "--ram", metavar="FILE", help="memory file of a running guest (the one that runs)"
    )
    group.add_argument(
        "--gdb", metavar="[HOST:]PORT", help="debug port of a guest; halts it while reading"
    )
    group.add_argument(
        "--dump", metavar="FILE", help="raw copy of a guest's memory from 0x80000000"
    )
    group.add_argument("--core", metavar="FILE", help="ELF core of dump-guest-memory")


def report_counts(output: Path, counts: dict[str, int]) -> int:
    """Says what was recorded; 1 if the guest panicked, else 0."""
    lost = f", {counts['lost']} lost" if counts["lost"] else ""
    print(f"{output}: {counts['events']} events{lost}")
    return counts["panicked"]


def run_record(options: argparse.Namespace) -> int:
    """The subcommand."""
    lines = command_lines(options.commands)
    counts = record(
        options.output,
        lines,
        options.kernel,
        options.image,
        cpus=options.cpus,
        mem=options.mem,
        events=options.events,
        ring=options.ring,
        keep=options.console,
    )
    return report_counts(options.output, counts)


def run_attach(options: argparse.Namespace) -> int:
    """The subcommand."""
    kernel, live = open_source(options)
    return report_counts(
        options.output, attach(options.output, kernel, live=live, seconds=options.seconds)
    )
