"""Stretches of time in a trace: what ran on each hart, what each process did (running, ready, asleep), system calls
from entry to exit. Made from the sched and sys events, for every view that needs durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tools.trace.trace import Trace

READY, ASLEEP = "ready", "asleep"


class Running(NamedTuple):
    """Process `pid` on `hart` from `start` to `end` (ticks)."""

    hart: int
    pid: int
    start: int
    end: int


class Call(NamedTuple):
    """A system call of `pid`: records of entry and exit; exit is -1 if it is not in the trace."""

    pid: int
    number: int
    entry: int
    exit: int


def running(trace: Trace) -> list[Running]:
    """Who ran where, by hart and time. Needs switch events; a hart's first known state begins at its first switch."""
    out: list[Running] = []
    indices = trace.of("switch")
    if not len(indices):
        return out
    rows = trace.records[indices]
    end = int(trace.records["time"][-1])
    current: dict[int, tuple[int, int]] = {}
    next_slot = trace.table.events[trace.table.id("switch")].slot("next")
    for time, hart, pid in zip(
        rows["time"].tolist(), rows["hart"].tolist(), rows["args"][:, next_slot].tolist()
    ):
        if hart in current and current[hart][0]:
            out.append(Running(hart, current[hart][0], current[hart][1], time))
        current[hart] = (pid, time)
    for hart, (pid, start) in current.items():
        if pid:
            out.append(Running(hart, pid, start, end))
    return out


def calls(trace: Trace) -> list[Call]:
    """System calls, in order of entry. A process is in one at a time; exit() has no exit record."""
    indices = trace.of("sys_enter", "sys_exit")
    rows = trace.records[indices]
    enter = trace.table.id("sys_enter")
    open_calls: dict[int, tuple[int, int]] = {}
    out: list[Call] = []
    for i, event, pid, number in zip(
        indices.tolist(), rows["event"].tolist(), rows["pid"].tolist(), rows["args"][:, 0].tolist()
    ):
        if event == enter:
            if pid in open_calls:
                at, old = open_calls.pop(pid)
                out.append(Call(pid, old, at, -1))
            open_calls[pid] = (i, number)
        elif pid in open_calls:
            at, old = open_calls.pop(pid)
            out.append(Call(pid, old, at, i))
    out += [Call(pid, number, at, -1) for pid, (at, number) in open_calls.items()]
    out.sort(key=lambda c: c.entry)
    return out


@dataclass
class Times:
    """Ticks a process spent in each state."""

    running: int = 0
    ready: int = 0
    asleep: int = 0


def times(trace: Trace) -> dict[int, Times]:
    """How each process spent its time, from switches and wakeups."""
    out: dict[int, Times] = {}
    state: dict[int, tuple[str, int]] = {}
    sleeping = 2

    def leave(pid: int, now: int) -> None:
        name, since = state.pop(pid, ("", 0))
        if name:
            spent = out.setdefault(pid, Times())
            setattr(spent, name, getattr(spent, name) + now - since)

    indices = trace.of("switch", "wakeup")
    rows = trace.records[indices]
    switch = trace.table.id("switch")
    for event, now, args in zip(
        rows["event"].tolist(), rows["time"].tolist(), rows["args"].tolist()
    ):
        if event != switch:
            if state.get(args[0], ("", 0))[0] == ASLEEP:
                leave(args[0], now)
                state[args[0]] = (READY, now)
            continue
        previous, why, following = args[:3]
        if previous and state.get(previous, ("running", 0))[0] == "running":
            leave(previous, now)
            if why in (2, 3):
                state[previous] = (ASLEEP if why == sleeping else READY, now)
        if following:
            leave(following, now)
            state[following] = ("running", now)
    end = int(trace.records["time"][-1]) if len(trace.records) else 0
    for pid in list(state):
        leave(pid, end)
    return out


def frames_in_use(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Times and numbers of free frames, from alloc and free events."""
    indices = trace.of("alloc", "free")
    free = np.zeros(len(indices), np.int64)
    events = trace.records["event"][indices]
    for name in ("alloc", "free"):
        mine = events == trace.table.id(name)
        free[mine] = trace.arg(name, "free", indices[mine]).astype(np.int64)
    return trace.records["time"][indices].astype(np.int64), free
