"""`record`: boots a guest, types commands, and keeps every event from power-on to the last prompt. `attach`: the
same from a guest that already runs, is halted, or is dead.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tools.guest import Kernel, open_guest
from tools.guest.elf import Elf
from tools.guest.memory import FileMemory, GuestError
from tools.trace.console import LINE, ROOT, Console
from tools.trace.follow import QUICK, SLOW, Follower, describe, promptly, pump, snapshot, table_of
from tools.trace.tracefile import TraceError, Writer

RING = 131072  # records of each hart's ring in a recorded guest: a follower on a busy machine may be late
PANICKED = "the guest panicked; its last events are in the trace"
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
    """Records a guest that runs `lines` at its prompt. Returns counts: events, lost, failed (0 or 1: it panicked, or
    ended before the last line was typed).

    Raises TraceError or GuestError when there is nothing to record.
    """
    for path in (kernel, image):
        if not path.is_file():
            raise TraceError(f"{path}: no such file; 'make' builds it")
    table = table_of(Elf(str(kernel)))
    try:
        table.select(events)
    except ValueError as error:
        raise TraceError(str(error)) from None
    progress = Progress()
    console = Console(kernel, image, cpus, mem, f"trace={events} trace_records={ring}")
    writer = Writer(output, table)
    with closing(writer), closing(console), promptly():
        follower = Follower(Kernel(Elf(str(kernel)), FileMemory(console.info["ram"])), live=True)
        console.run(lines)
        while not follower.find():
            if console.done.wait(SLOW / 4):
                said = console.said().strip().splitlines() or [""]
                last = next((line for line in said if "panic" in line), said[-1])
                what = console.error or "ended"
                raise TraceError(f"the guest {what} before it made its rings: {last}")
        console.forget_disk()
        describe(follower, writer, commands=lines)
        interrupted = False
        try:
            while not console.done.is_set():
                if pump(follower, writer) == 0:
                    console.done.wait(follower.pause)
                else:
                    time.sleep(QUICK)
                progress.say(f"{writer.count} events, {follower.lost} lost; ^C ends")
        except KeyboardInterrupt:
            interrupted = True
        pump(follower, writer)
        progress.end()
        if keep:
            print(console.said(), file=sys.stderr)
        failed = end_of(console, interrupted, len(lines))
    return {"events": writer.count, "lost": follower.lost, "failed": int(failed)}


def end_of(console: Console, interrupted: bool, lines: int) -> bool:
    """Says how a recording ended, unless it was at the prompt after the last line; whether that is a finding."""
    if interrupted:
        print("xv6-trace: interrupted; the trace ends there", file=sys.stderr)
    elif console.panicked:
        print(f"xv6-trace: {PANICKED}", file=sys.stderr)
    elif console.error:
        after = "" if console.typed else f" before all of {lines} lines were typed"
        text = f"the guest {console.error}{after}; the trace ends there"
        print(f"xv6-trace: {text} (--console shows what it printed)", file=sys.stderr)
    return not interrupted and (console.panicked or bool(console.error) and not console.typed)


def attach(output: Path, source: Source, seconds: float | None) -> dict[str, int]:
    """Records a guest that is there: once if it does not run, else for `seconds`, until interrupted, or until it
    ends. Returns counts: events, lost, failed (0 or 1: it has panicked). Raises TraceError or GuestError.
    """
    live = source.ram is not None
    follower = Follower(source.kernel, live)
    if not follower.find():
        raise TraceError(f"{source.kernel.elf.path}: this guest has no trace rings (yet)")
    progress = Progress()
    writer = Writer(output, follower.table)
    with closing(writer), promptly():
        describe(follower, writer)
        snapshot(follower, writer)
        end = time.monotonic() + seconds if seconds is not None else None
        try:
            while live and (end is None or time.monotonic() < end):
                if pump(follower, writer):
                    time.sleep(QUICK)
                elif source.over():
                    break
                else:
                    time.sleep(follower.pause)
                progress.say(f"{writer.count} events, {follower.lost} lost; ^C ends")
        except KeyboardInterrupt:
            pass
        follower.live = not source.over()  # what a dead guest left unfinished stays so
        pump(follower, writer)
    progress.end()
    failed = bool(source.kernel.number("panicked"))
    if failed:
        print(f"xv6-trace: {PANICKED}", file=sys.stderr)
    return {"events": writer.count, "lost": follower.lost, "failed": int(failed)}


def launched(run: Path) -> bool:
    """Whether the launcher of a guest's folder lives: it holds the lock there for as long."""
    try:
        with open(run / "lock", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # it is leaving
        pass
    return False


def running() -> Path:
    """The memory file of the one guest that runs from this tree; raises TraceError if there is not one."""
    found = sorted(p for p in (ROOT / "build" / "run").glob("*/ram") if launched(p.parent))
    if len(found) == 1:
        return found[0]
    many = "none runs" if not found else "several run: " + ", ".join(str(p) for p in found)
    raise TraceError(f"which guest? {many}; say --ram FILE")


@dataclass(frozen=True)
class Source:
    """A guest to read. `ram`: the memory file of one that runs; None for one that is halted or dead."""

    kernel: Kernel
    ram: Path | None

    def over(self) -> bool:
        """Whether there will be no more events: the guest is gone, or has panicked."""
        return self.ram is None or not self.ram.exists() or bool(self.kernel.number("panicked"))


def open_source(options: argparse.Namespace, must_run: str = "") -> Source:
    """The guest that --ram, --gdb, --dump or --core names, or the one that runs from this tree. `must_run` names who
    needs one that runs. Raises TraceError or GuestError.
    """
    kernel = str(options.kernel)
    if not Path(kernel).is_file():
        raise TraceError(f"{kernel}: no such file; 'make' builds it")
    dead = options.gdb or options.core or options.dump
    if dead and must_run:
        raise TraceError(f"{must_run} needs a guest that runs")
    if options.gdb:
        return Source(open_guest(kernel, connect=options.gdb), None)
    path = dead or options.ram or str(running())
    guest = open_guest(kernel, core=path) if options.core else open_guest(kernel, ram=path)
    try:
        guest.number("trace_mask")
    except GuestError as error:
        raise TraceError(f"{path}: not the memory of a guest of {kernel}: {error}") from None
    return Source(guest, None if dead else Path(path))


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
    """Says what was recorded; 1 if the guest failed, else 0."""
    lost = f", {counts['lost']} lost" if counts["lost"] else ""
    print(f"{output}: {counts['events']} events{lost}")
    return counts["failed"]


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
    counts = attach(options.output, open_source(options), options.seconds)
    return report_counts(options.output, counts)
