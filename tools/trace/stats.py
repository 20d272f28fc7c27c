"""`stats`: numbers of a trace: latencies of requests, time of processes, events, frames, locks; of one or two."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from tools.trace import trace as normaliser
from tools.trace.requests import STAGES, Requests
from tools.trace.show import loss_lines
from tools.trace.spans import frames_in_use, times
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

BAR = 40  # characters of the longest bar
QUANTILES = (("min", 0.0), ("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


def microseconds(trace: Trace, ticks: float) -> float:
    """Ticks as microseconds."""
    return round(float(ticks) * 1e6 / trace.frequency, 1)


def quantiles(trace: Trace, values: np.ndarray) -> dict[str, float]:
    """Order statistics in microseconds: each is a value that occurred."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return {name: microseconds(trace, ordered[int(np.ceil(q * last))]) for name, q in QUANTILES}


def measure(trace: Trace) -> dict[str, Any]:
    """All the numbers, for printing, comparing and the report."""
    requests = Requests(trace)
    stages = {}
    for first, last in STAGES:
        values = requests.latencies(first, last)
        if len(values):
            stages[f"{first} to {last}"] = {"count": len(values)} | quantiles(trace, values)
    ids, counts = np.unique(trace.records["event"][trace.emitted], return_counts=True)
    names = {i: info.name for i, info in trace.table.events.items()}
    events = {names.get(i, f"unknown {i}"): n for i, n in zip(ids.tolist(), counts.tolist())}
    last_index = max(0, len(trace.records) - 1)
    processes = {
        pid: {
            "program": trace.name_at(pid, last_index),
            "running": microseconds(trace, t.running),
            "ready": microseconds(trace, t.ready),
            "asleep": microseconds(trace, t.asleep),
        }
        for pid, t in sorted(times(trace).items())
    }
    _, free = frames_in_use(trace)
    frames = {"least free": int(free.min()), "free at the end": int(free[-1])} if len(free) else {}
    return {
        "events": events,
        "requests": len(requests.all),
        "stages": stages,
        "processes": processes,
        "frames": frames,
        "locks": locks(trace),
        "lost": trace.lost,
    }


def locks(trace: Trace) -> dict[str, dict[str, float]]:
    """Contention by lock: how often a hart had to wait, how long in all and at most, in microseconds."""
    indices = trace.of("contend")
    out: dict[str, dict[str, float]] = {}
    if not len(indices):
        return out
    addresses = trace.arg("contend", "lock", indices)
    waited = trace.arg("contend", "waited", indices)
    classes = trace.arg("contend", "class", indices)
    for address in np.unique(addresses).tolist():
        mine = waited[addresses == address]
        name = trace.symbols.name(address)
        if name.startswith("0x"):  # in memory that was allocated: its class says more
            kind = int(classes[addresses == address][0])
            name = f"{trace.table.values.get('lock', {}).get(kind, 'lock')} {name}"
        row = {"count": len(mine), "waited": microseconds(trace, mine.sum())}
        out[name] = row | {"longest": microseconds(trace, mine.max())}
    return dict(sorted(out.items(), key=lambda item: -item[1]["waited"]))


def histogram(trace: Trace, values: np.ndarray) -> list[tuple[int, int]]:
    """(lower bound in microseconds, count) of boxes that double in width, from the first to the last used."""
    us = values * 1_000_000 // trace.frequency
    boxes = np.where(us > 0, np.floor(np.log2(np.maximum(us, 1))).astype(int) + 1, 0)
    counts = np.bincount(boxes)
    first = int(boxes.min())
    return [(0 if b == 0 else 1 << (b - 1), int(counts[b])) for b in range(first, len(counts))]


def show(trace: Trace) -> None:
    """Prints the numbers of one trace."""
    m = measure(trace)
    width = " ".join(f"{name:>9}" for name, _ in QUANTILES)
    if m["stages"]:
        print(f"{'requests, microseconds':<24} {'count':>6} {width}")
        for name, row in m["stages"].items():
            print(
                f"{name:<24} {row['count']:>6} " + " ".join(f"{row[q]:>9.1f}" for q, _ in QUANTILES)
            )
        whole = Requests(trace).latencies("enqueue", "complete")
        if len(whole):
            print("\nenqueue to complete, microseconds")
            boxes = histogram(trace, whole)
            longest = max(count for _, count in boxes)
            for low, count in boxes:
                print(f"{low:>9} and more {count:>6} {'#' * -(-count * BAR // longest)}")
        print()
    if m["processes"]:
        print(f"{'process':<22} {'running':>10} {'ready':>10} {'asleep':>12}  microseconds")
        for pid, row in m["processes"].items():
            spent = f"{row['running']:>10.1f} {row['ready']:>10.1f} {row['asleep']:>12.1f}"
            print(f"{pid:>5} {row['program']:<16} {spent}")
        print()
    print(f"{'event':<24} {'count':>8}")
    for name, count in sorted(m["events"].items(), key=lambda item: -item[1]):
        print(f"{name:<24} {count:>8}")
    if m["frames"]:
        print(
            f"\nframes free: {m['frames']['least free']} at least, {m['frames']['free at the end']} at the end"
        )
    if m["locks"]:
        print(f"\n{'lock':<32} {'waits':>8} {'waited':>10} {'longest':>10}  microseconds")
        for name, row in m["locks"].items():
            print(f"{name:<32} {row['count']:>8} {row['waited']:>10.1f} {row['longest']:>10.1f}")
    for line in loss_lines(trace):
        print(f"note: {line}")


def _ratio(a: float, b: float) -> str:
    return f"{b / a:>8.2f}x" if a else f"{'-':>9}"


def compare(one: Trace, two: Trace) -> None:
    """Prints the numbers of two traces side by side."""
    a, b = measure(one), measure(two)
    print(f"{'':<32} {'A':>10} {'B':>10} {'B/A':>9}")
    for name in [*a["stages"], *(n for n in b["stages"] if n not in a["stages"])]:
        for q in ("median", "p99"):
            x = a["stages"].get(name, {}).get(q, 0.0)
            y = b["stages"].get(name, {}).get(q, 0.0)
            print(f"{name + ', ' + q + ' us':<32} {x:>10.1f} {y:>10.1f} {_ratio(x, y)}")
    for name in sorted({*a["events"], *b["events"]}):
        x, y = a["events"].get(name, 0), b["events"].get(name, 0)
        print(f"{name:<32} {x:>10} {y:>10} {_ratio(x, y)}")
    for key in ("requests", "lost"):
        print(f"{key:<32} {a[key]:>10} {b[key]:>10} {_ratio(a[key], b[key])}")
    for key in sorted({*a["frames"], *b["frames"]}):
        x, y = a["frames"].get(key, 0), b["frames"].get(key, 0)
        print(f"{'frames ' + key:<32} {x:>10} {y:>10} {_ratio(x, y)}")


def run(options: argparse.Namespace) -> int:
    """The subcommand."""
    if len(options.traces) > 2:
        raise TraceError("one trace, or two to compare")
    traces = [normaliser.load(Path(p)) for p in options.traces]
    if options.json:
        print(json.dumps([measure(t) for t in traces], indent=1))
    elif len(traces) == 1:
        show(traces[0])
    else:
        compare(traces[0], traces[1])
    return 0
