"""`top`: what a running guest is doing, twice a second: harts, queue, requests, sharing, events, latency.

Everything comes from reading the guest's memory; the guest notices nothing. State is a class without a screen, so
that tests can feed it.
"""

from __future__ import annotations

import argparse
import curses
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tools.guest import Processes
from tools.guest.memory import GuestError
from tools.guest.sharing import Mappings
from tools.trace.follow import Follower
from tools.trace.record import Source, open_source
from tools.trace.requests import INIT
from tools.trace.table import Table
from tools.trace.tracefile import TraceError

PERIOD = 0.5  # seconds between two pictures
LOOK = 0.02  # seconds between two looks at the rings
KEPT = 60  # latencies and rates in a sparkline
BARS = " ▁▂▃▄▅▆▇█"
STATES = {1: "INIT", 2: "DONE", 3: "ERROR"}


def sparkline(values: list[float], width: int) -> str:
    """The last values as a row of bars, scaled to the largest."""
    last = values[-width:]
    most = max(last, default=0) or 1
    return "".join(BARS[min(len(BARS) - 1, int(v / most * (len(BARS) - 1) + 0.999))] for v in last)


@dataclass
class Flight:
    """A request that has not ended."""

    number: int
    client: int
    size: int
    queued: int
    step: str = "queued"


@dataclass
class State:
    """What the picture shows, kept up by records as they come."""

    table: Table
    frequency: int
    harts: dict[int, int] = field(default_factory=dict)  # hart -> pid
    flights: dict[int, Flight] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))  # microseconds
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))  # events a second
    served: int = 0
    waiting: int = 0
    counts: dict[int, int] = field(default_factory=dict)  # pid -> events since the last picture
    serving: dict[int, Flight] = field(default_factory=dict)  # server -> request

    def take(self, records: np.ndarray) -> None:
        """Accounts for new records, in order of time."""
        ids = {
            self.table.id(n): n
            for n in ("enqueue", "dequeue", "map", "state", "unmap", "complete", "switch")
        }
        for pid, n in zip(*np.unique(records["pid"], return_counts=True)):
            self.counts[int(pid)] = self.counts.get(int(pid), 0) + int(n)
        for r in records[np.isin(records["event"], list(ids))]:
            name = ids[int(r["event"])]
            a = r["args"].tolist()
            if name == "switch":
                self.harts[int(r["hart"])] = a[2]
            else:
                self._request(name, int(r["pid"]), int(r["time"]), a)

    def _request(self, name: str, pid: int, now: int, a: list[int]) -> None:
        if name == "enqueue":
            self.flights[a[0]] = Flight(a[0], pid, a[2], now)
            self.waiting = a[3]
        elif name == "dequeue":
            flight = self.flights.setdefault(a[0], Flight(a[0], a[1], a[3], now))
            flight.step = "taken"
            self.serving[pid] = flight
            self.waiting = a[4]
        elif name == "complete":
            flight = self.flights.pop(a[0], Flight(a[0], a[1], 0, now))
            self.serving = {p: f for p, f in self.serving.items() if f.number != a[0]}
            self.latencies.append((now - flight.queued) * 1e6 / self.frequency)
            self.served += 1
        elif pid in self.serving:
            words = {"map": "mapped", "unmap": "unmapped"}
            word = "at work" if a[1] == INIT else STATES.get(a[1], str(a[1]))
            self.serving[pid].step = words.get(name, word)


class Top:
    """The screen."""

    def __init__(self, source: Source):
        self.source, self.kernel = source, source.kernel
        self.follower = Follower(self.kernel, live=True)
        if not self.follower.find():
            raise TraceError("this guest has no trace rings (yet)")
        self.follower.skip()
        self.state = State(self.follower.table, self.follower.frequency)
        self.paused = False
        self.chosen = 0

    def gather(self, seconds: float) -> None:
        """Follows the rings for so long."""
        end = time.monotonic() + seconds
        total = 0
        self.state.counts = {}
        while (left := end - time.monotonic()) > 0:
            records = self.follower.poll()
            total += len(records)
            self.state.take(records[np.argsort(records["time"], kind="stable")])
            time.sleep(min(LOOK, left))
        self.state.rates.append(total / seconds)

    def lines(self, width: int) -> list[tuple[str, bool]]:
        """The picture: (text, whether it is marked)."""
        s = self.state
        processes = Processes(self.kernel)
        names = {p.pid: p.name for p in processes.used}
        rate = s.rates[-1] if s.rates else 0.0
        bars = width - 46
        out = [
            f"{'PAUSED  ' if self.paused else ''}{rate:>9.0f} events/s  {sparkline(list(s.rates), bars)}",
            f"{s.latencies[-1] if s.latencies else 0:>9.1f} us a request {sparkline(list(s.latencies), bars)}",
            f"queue {s.waiting}, {s.served} served, {self.follower.lost} events lost",
            "",
        ]
        for hart in processes.harts[: len(self.follower.rings)]:
            pid = hart.process.pid if hart.process else s.harts.get(hart.number, 0)
            out.append(
                f"hart {hart.number}  " + (f"{pid} {names.get(pid, '?')}" if pid else "idle")
            )
        out.append("")
        for flight in list(s.flights.values())[:8]:
            out.append(
                f"request {flight.number}  client {flight.client}  {flight.size} bytes  {flight.step}"
            )
        try:
            shared = Mappings(processes).shared()
        except GuestError:
            shared = {}
        for frame, leaves in sorted(shared.items())[:6]:
            who = ", ".join(sorted({str(leaf.process.pid) for leaf in leaves}))
            if any(leaf.shared_in for leaf in leaves):
                out.append(f"frame {frame:#x} shared by {who}")
        rows = [(line[:width], False) for line in [*out, ""]]
        heading = f"{'pid':>6} {'name':<16} {'state':<10} {'hart':>4} {'size':>9} {'events':>8}"
        rows.append((heading, False))
        used = processes.used
        self.chosen = max(0, min(self.chosen, len(used) - 1))
        for i, p in enumerate(used):
            hart_text = "-" if p.hart is None else str(p.hart)
            text = f"{p.pid:>6} {p.name:<16} {p.state.lower():<10} {hart_text:>4}"
            text += f" {p.size or 0:>9} {s.counts.get(p.pid, 0):>8}"
            rows.append((text[:width], i == self.chosen))
        if used:
            p = used[self.chosen]
            on = self.kernel.name_of(p.chan) if p.chan else None
            rows.append(
                (f"{p.label}: {'sleeps on ' + on if on else p.state.lower()}"[:width], False)
            )
        return rows

    def loop(self, screen: "curses.window") -> None:
        """Draws until q, or the guest ends."""
        curses.use_default_colors()
        curses.curs_set(0)
        screen.nodelay(True)
        rows: list[tuple[str, bool]] = []
        while not self.source.over():
            if not self.paused or not rows:
                self.gather(PERIOD)
            else:
                time.sleep(LOOK * 5)
            key = screen.getch()
            if key in (ord("q"), 27):
                return
            if key == ord("p"):
                self.paused = not self.paused
            if key in (curses.KEY_DOWN, curses.KEY_UP):
                self.chosen += 1 if key == curses.KEY_DOWN else -1
            height, width = screen.getmaxyx()
            if not self.paused or not rows or key != -1:
                rows = self.lines(width - 1)
            screen.erase()
            for y, (text, marked) in enumerate(rows[: height - 1]):
                screen.addstr(y, 0, text, curses.A_REVERSE if marked else curses.A_NORMAL)
            screen.addstr(
                height - 1,
                0,
                "q quits  p pauses  arrows choose a process"[: width - 1],
                curses.A_DIM,
            )
            screen.refresh()


def run(options: argparse.Namespace) -> int:
    """The subcommand."""
    source = open_source(options, must_run="top")
    top = Top(source)
    if options.once:
        top.gather(PERIOD)
        print("\n".join(text for text, _ in top.lines(100)))
        return 0
    curses.wrapper(top.loop)
    if source.over():
        print("xv6-trace: the guest has ended", file=sys.stderr)
    return 0
