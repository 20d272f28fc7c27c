"""Moves through a recorded run: forward, and back by starting QEMU again and counting instructions.

A position is the number of instructions executed since power-on, which QEMU's monitor tells. Going
back starts a fresh QEMU (tools/run --replay) from the last snapshot before the position and runs
forward; on long ways forward snapshots are taken for the next time. Whoever searches for the last
hit before now looks at stretches of run that grow as they lie further back.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Optional

import gdb

from tools.gdb import skin
from tools.gdb.inferior import monitor
from tools.guest.memory import GuestError
from tools.recording import START

TREE = Path(__file__).resolve().parents[2]
FOLDER = TREE / "build" / "recording"
EVERY = 50_000_000  # instructions between two snapshots
MOST = 32  # snapshots of one recording
FAR = 1 << 62  # a position no recording reaches
STRETCH = 20_000  # instructions searched first; each further stretch is GROWTH times as long
GROWTH = 8


class Ended(GuestError):
    """The recording ends before the position that was wanted."""


class Player:
    """A recording that is being replayed; one at a time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.launcher: Optional[subprocess.Popen[bytes]] = None
        self.shown = 0  # bytes of the guest's console shown so far
        self.searching = False
        self.over = False  # is this where the log ends?
        self.end: Optional[int] = None  # its position, once it has been reached
        self.restart(START)

    @property
    def console(self) -> Path:
        """What the guest has printed since this QEMU started."""
        return self.folder / "console"

    def restart(self, snapshot: str) -> None:
        """Connects gdb to a fresh QEMU, stopped at a snapshot."""
        kept = skin.kept_snapshots()
        self.stop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(TREE / "tools" / "run"), "--replay", str(self.folder), "--gdb", str(port)]
        with open(self.console, "wb") as out:
            self.launcher = subprocess.Popen(
                [*command, "--snapshot", snapshot],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # ^C in gdb is for gdb
                preexec_fn=end_with_gdb,
            )
        self.shown, self.over = 0, False
        self.connect(port)
        skin.session().snapshots.update(kept)
        skin.session().programs.folders.insert(0, str(self.folder / "user"))

    def connect(self, port: int) -> None:
        """Waits for QEMU's port; raises GuestError with the launcher's words if it ends instead."""
        assert self.launcher is not None
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                try:
                    self.launcher.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                raise GuestError(self.console.read_text(errors="replace").strip()) from None
        silently(f"target remote 127.0.0.1:{port}")

    def stop(self) -> None:
        """Ends QEMU and its launcher, if they run."""
        if self.launcher is None:
            return
        if gdb.selected_inferior().pid:
            gdb.execute("disconnect", to_string=True)
        self.launcher.send_signal(signal.SIGTERM)
        self.launcher.wait()
        self.launcher = None

    def position(self) -> int:
        """Instructions executed so far."""
        found = re.search(r"instruction count = (\d+)", monitor("info replay"))
        if found is None:
            raise GuestError("QEMU does not replay a recording: start with 'replay'")
        return int(found[1])

    def snapshots(self) -> dict[int, str]:
        """Name of the snapshot at each position that has one."""
        rows = [line.split() for line in monitor("info snapshots").splitlines()]
        return {int(row[-1]): row[1] for row in rows if len(row) > 3 and row[-1].isdecimal()}

    def run_to(self, position: int) -> None:
        """Runs forward, stops at a position or at what the user's breakpoints say before it."""
        if position > self.position():
            monitor(f"replay_break {position}")
            try:
                silently("continue")
            except gdb.error:
                raise GuestError("the guest shut down, and QEMU with it: 'replay' again") from None
            monitor("replay_delete_break")

    def forward(self, position: int) -> None:
        """Runs to a later position, taking snapshots on the way; raises Ended."""
        known = self.snapshots()
        while self.position() < position:
            here = self.position()
            leg = min(position, (here // EVERY + 1) * EVERY)
            self.run_to(leg)
            reached = self.position()
            if reached < leg:
                if self.over:
                    raise Ended(f"the recording ends at instruction {reached}")
                raise GuestError(f"interrupted at instruction {reached}")
            if leg % EVERY == 0 and leg not in known and len(known) < MOST:
                known[leg] = f"at{leg}"
                monitor(f"savevm {known[leg]}")

    def goto_end(self) -> str:
        """Goes to where the recording ends, or to where the guest shuts its machine (and QEMU with
        it) down; says where that is.
        """
        calls = []
        if gdb.lookup_global_symbol("sys_shutdown"):
            calls = [gdb.Breakpoint("sys_shutdown", internal=True)]
        try:
            self.goto(FAR)
        except Ended as ended:
            return str(ended)
        except GuestError:
            if gdb.selected_frame().name() != "sys_shutdown":
                raise
        finally:
            for call in calls:
                call.delete()
        return f"the guest shuts down at instruction {self.position()}"

    def goto(self, position: int) -> None:
        """Goes to a position, past or future, whatever breakpoints there are; raises Ended."""
        with self.quiet():
            here = self.position()
            start, name = max((at, n) for at, n in self.snapshots().items() if at <= position)
            if not start <= here <= position:
                self.restart(name)
            self.forward(position)

    @contextmanager
    def quiet(self) -> Iterator[list[gdb.Breakpoint]]:
        """Without the user's breakpoints, which it gives, and without showing the console."""
        mine = [b for b in gdb.breakpoints() if b.enabled and b.number > 0]
        for b in mine:
            b.enabled = False
        before, self.searching = self.searching, True
        try:
            yield mine
        finally:
            self.searching = before
            for b in mine:
                b.enabled = True
            self.shown = self.console.stat().st_size

    def hits(self, start: int, end: int, wanted: list[gdb.Breakpoint]) -> list[int]:
        """Positions in [start, end) where one of `wanted` stops the run; all of them are off."""
        # A breakpoint at the very position where the run starts would be stepped over.
        self.goto(max(0, start - 1))
        numbers = {b.number for b in wanted}
        seen: list[int] = []
        stops: list[Any] = []
        gdb.events.stop.connect(stops.append)
        for b in wanted:
            b.enabled = True
        try:
            while self.position() < end:
                stops.clear()
                self.run_to(end)
                hit = stops and isinstance(stops[-1], gdb.BreakpointEvent)
                if not hit or not numbers & {b.number for b in stops[-1].breakpoints}:
                    break
                seen.append(self.position())
        finally:
            for b in wanted:
                b.enabled = False
            gdb.events.stop.disconnect(stops.append)
        return [at for at in seen if start <= at < end]

    def last(self, wanted: list[gdb.Breakpoint], end: int) -> Optional[int]:
        """The last position before `end` where one of `wanted` stops; None if there is none."""
        length = STRETCH
        while end > 0:
            start = max(0, end - length)
            found = self.hits(start, end, wanted)
            if found:
                return found[-1]
            end, length = start, length * GROWTH
        return None

    def back_to_hit(self) -> bool:
        """Goes to the last hit of the user's breakpoints before now; False, and stays, without one."""
        here = self.position()
        with self.quiet() as mine:
            commands = [(b, b.commands) for b in mine if b.commands]
            try:
                for b, _ in commands:
                    b.commands = ""  # they are for stops the user sees
                at = self.last([b for b in mine if not b.temporary], here)
            finally:
                for b, text in commands:
                    b.commands = text
            self.goto(here if at is None else at)
        return at is not None

    def show_console(self) -> None:
        """Prints what the guest has printed since the last stop."""
        with open(self.console, "rb") as f:
            f.seek(self.shown)
            text = f.read()
        self.shown += len(text)
        for line in text.decode(errors="replace").splitlines():
            gdb.write(f"guest| {line}\n")


def end_with_gdb() -> None:
    """In the launcher: SIGTERM should gdb be killed, so that no guest outlives it."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def silently(command: str) -> None:
    """Carries out a command of gdb's; what it says of the stop, which to_string lets through, too."""
    gdb.flush()
    said, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        gdb.execute(command, to_string=True)
        gdb.flush()
    finally:
        os.dup2(said, 1)
        os.close(said)
        os.close(nowhere)


_player: Optional[Player] = None


def player() -> Player:
    """The recording that is being replayed; raises GuestError without one."""
    if _player is None or not gdb.selected_inferior().pid or _player.launcher is None:
        why = (
            "nothing is being replayed" if _player is None else "the recording has come to its end"
        )
        raise GuestError(f"{why}: 'replay' starts it ('make record' makes one)")
    return _player


def start(folder: Path) -> Player:
    """Begins to replay a recording, at its first instruction."""
    global _player
    if not (folder / "kernel").is_file():
        raise GuestError(f"{folder}: no recording there: 'make record' makes build/recording")
    if _player is not None:
        _player.stop()
        _player = None
    if gdb.selected_inferior().pid:
        raise GuestError("gdb is connected to another guest: 'disconnect' first")
    gdb.execute("set tcp connect-timeout 30")
    gdb.execute("set confirm off")
    gdb.execute(f'file "{folder / "kernel"}"', to_string=True)
    _player = Player(folder)
    return _player


def stopped(event: Any) -> None:
    """Called by gdb at each stop. At the end of its log QEMU stops with SIGQUIT."""
    if _player is None:
        return
    _player.over = isinstance(event, gdb.SignalEvent) and event.stop_signal == "SIGQUIT"
    if _player.over:
        _player.end = _player.position()
    if not _player.searching:
        _player.show_console()


def check_more() -> None:
    """Before gdb lets the guest run; raises GuestError where QEMU would hang: at its log's end."""
    p = _player
    if p is None or not gdb.selected_inferior().pid:
        return
    if p.over or p.end is not None and p.position() >= p.end - 1:
        raise GuestError("the recording ends here: reverse-continue and 'replay goto' lead back")


def finish(_event: Any = None) -> None:
    """Called when gdb ends."""
    if _player is not None:
        _player.stop()
