"""A trace as Chrome/Perfetto JSON ("Trace Event Format"): harts with the processes they ran, processes with their
system calls and events, requests as asynchronous spans with arrows from queue to server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from tools.trace.requests import Requests
from tools.trace.spans import calls, running
from tools.trace.text import Formatter
from tools.trace.trace import Trace

HARTS = 1_000_000  # "process" of the hart tracks, above every pid
SPANS = ("switch", "sys_enter", "sys_exit")  # shown as spans, not as instants


def _tracks(trace: Trace) -> Iterator[dict[str, Any]]:
    last = max(0, len(trace.records) - 1)
    yield {"ph": "M", "name": "process_name", "pid": HARTS, "tid": 0, "args": {"name": "harts"}}
    for hart in np.unique(trace.records["hart"]).tolist():
        args = {"name": f"hart {hart}"}
        yield {"ph": "M", "name": "thread_name", "pid": HARTS, "tid": hart, "args": args}
    for pid in trace.pids:
        args = {"name": trace.name_at(pid, last)}
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": pid, "args": args}


def entries(trace: Trace) -> Iterator[dict[str, Any]]:
    """Every entry of the JSON array. Times are microseconds since the guest's clock started."""
    us = trace.frequency / 1e6
    time = np.ascontiguousarray(trace.records["time"])
    yield from _tracks(trace)
    spans = running(trace)
    starts = np.searchsorted(time, np.array([s.start for s in spans], np.uint64))
    pids = np.array([s.pid for s in spans], np.uint64).astype(np.int32)
    programs = trace.programs_of(pids, starts).tolist()
    for span, program in zip(spans, programs):
        name = f"{trace.names[program]} ({span.pid})"
        row = {"ph": "X", "name": name, "cat": "sched", "pid": HARTS, "tid": span.hart}
        yield row | {"ts": span.start / us, "dur": (span.end - span.start) / us}
    names = trace.table.values.get("syscall", {})
    end = int(time[-1]) if len(time) else 0
    for call in calls(trace):
        start, stop = int(time[call.entry]), int(time[call.exit]) if call.exit >= 0 else end
        row = {"ph": "X", "name": names.get(call.number, str(call.number)), "cat": "sys"}
        row |= {"pid": call.pid, "tid": call.pid, "ts": start / us, "dur": (stop - start) / us}
        args = (
            {"result": int(trace.records["args"][call.exit, 1].astype(np.int64))}
            if call.exit >= 0
            else {}
        )
        yield row | {"args": args}
    drawn = [trace.table.id(n) for n in SPANS]
    instants = np.flatnonzero(trace.emitted & ~np.isin(trace.records["event"], drawn))
    categories = {info.name: info.category for info in trace.table.events.values()}
    for d in Formatter(trace).dicts(instants):
        place = {"pid": d["pid"], "tid": d["pid"]} if d["pid"] else {"pid": HARTS, "tid": d["hart"]}
        row = {"ph": "i", "s": "t", "name": d["event"], "cat": categories.get(d["event"], "")}
        yield row | place | {"ts": d["time"] * 1e6, "args": d["args"]}
    yield from _requests(trace, us)


def _requests(trace: Trace, us: float) -> Iterator[dict[str, Any]]:
    time = trace.records["time"]
    for n, q in enumerate(Requests(trace).all):
        steps = sorted(q.steps.values())
        common = {
            "cat": "request",
            "id": n,
            "pid": q.client,
            "tid": q.client,
            "name": f"request {q.number}",
        }
        yield common | {"ph": "b", "ts": int(time[steps[0]]) / us, "args": {"size": q.size}}
        for step, i in q.steps.items():
            yield common | {"ph": "n", "ts": int(time[i]) / us, "args": {"step": step}}
        yield common | {"ph": "e", "ts": int(time[steps[-1]]) / us, "args": {}}
        if "enqueue" in q.steps and "dequeue" in q.steps:
            for phase, step, pid in (("s", "enqueue", q.client), ("f", "dequeue", q.server)):
                arrow = {
                    "ph": phase,
                    "cat": "flow",
                    "id": n,
                    "name": "request",
                    "pid": pid,
                    "tid": pid,
                }
                ends = {"bp": "e"} if phase == "f" else {}
                yield arrow | {"ts": int(time[q.steps[step]]) / us} | ends


def export(trace: Trace, path: Path) -> int:
    """Writes the file; returns how many entries."""
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        out.write('{"displayTimeUnit":"ns","traceEvents":[\n')
        for count, entry in enumerate(entries(trace), 1):
            out.write((",\n" if count > 1 else "") + json.dumps(entry))
        lost = json.dumps({"lost": trace.lost, **trace.about})
        out.write(f'\n],"otherData":{lost}}}\n')
    return count
