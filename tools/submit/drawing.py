"""Draws a recorded guest for a report: who did what, one lane for each process, and whose page lies in
which frame after the assignment's last call. Plain SVG, which any browser and printer shows; the
interactive page of tools/trace is folded in below.
"""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from tools.guest.sv39 import S
from tools.submit.hooks import CALLS
from tools.trace import report
from tools.trace import trace as traces
from tools.trace.text import Formatter
from tools.trace.trace import Trace

ROW, LANE, MOST = 17, 46, 48  # pixels of a line and of a lane; lines shown
ALWAYS = (
    "map",
    "unmap",
    "resize",
    "fork",
    "exit",
    "wait",
    "enqueue",
    "dequeue",
    "complete",
    "state",
)
OF_FRAMES = {"alloc": 0, "free": 0, "pte_set": 2, "pte_clear": 2}  # slot of the frame
LOCKS = ("acquire", "release")
PAGE, PAGES = 4096, 6  # bytes; frames drawn


def drawn(path: Path) -> str:
    """The pictures of a trace file as HTML; empty if nothing happened in it."""
    trace = traces.load(path)
    if not trace.emitted.any():
        return ""
    page = html.escape(report.page(trace, path.stem))
    return (
        f"{timeline(trace)}{memory(trace)}<details><summary>Every event: timeline, memory, table"
        f'</summary><iframe loading="lazy" srcdoc="{page}"></iframe></details>'
    )


def _calls(trace: Trace) -> list[tuple[int, int]]:
    """The assignment's system calls: indices of entry and exit, the trace's end if there is none."""
    names = {n for n, v in trace.table.values.get("syscall", {}).items() if v in CALLS}
    names |= set(trace.about.get("calls", []))
    open_calls: dict[int, int] = {}
    found = []
    enter = trace.table.id("sys_enter")
    for i in trace.of("sys_enter", "sys_exit").tolist():
        row = trace.records[i]
        pid = int(row["pid"])
        if int(row["args"][0]) not in names:
            continue
        if row["event"] == enter:
            open_calls[pid] = i
        elif pid in open_calls:
            found.append((open_calls.pop(pid), i))
    return sorted(found + [(i, len(trace.records) - 1) for i in open_calls.values()])


def _frames(trace: Trace) -> set[int]:
    """Frames whose entries the assignment's calls set or cleared."""
    frames: set[int] = set()
    for start, end in _calls(trace):
        pid = trace.records["pid"][start]
        for i in trace.of("pte_set", "pte_clear").tolist():
            if start <= i <= end and trace.records["pid"][i] == pid and trace.emitted[i]:
                frames.add(int(trace.records["args"][i, 2]))
    for m in trace.of("map").tolist():  # of a call that began before the recording
        to, size = (int(a) for a in trace.records["args"][m, 3:5])
        for i in trace.of("pte_set").tolist():
            if i < m and to & -PAGE <= int(trace.records["args"][i, 1]) < to + size:
                frames.add(int(trace.records["args"][i, 2]))
    return frames


def _chosen(trace: Trace) -> list[int]:
    """What the timeline shows: calls, processes, the shared frames; locks if there is room."""
    frames, events = _frames(trace), {info.id: info.name for info in trace.table.events.values()}
    calls = {i for pair in _calls(trace) for i in pair}
    found, locks = [], []
    for i in np.flatnonzero(trace.emitted).tolist():
        name, args = events.get(int(trace.records["event"][i]), ""), trace.records["args"][i]
        slot = OF_FRAMES.get(name)
        if name in ALWAYS or i in calls or (slot is not None and int(args[slot]) in frames):
            found.append(i)
        elif name in LOCKS:
            locks.append(i)
    if len(found) + len(locks) <= MOST:
        found = sorted(found + locks)
    if len(found) > MOST:
        found = found[: MOST // 3] + found[MOST // 3 - MOST :]
    return found


def timeline(trace: Trace) -> str:
    """Events from top to bottom, a lane for each process."""
    rows = _chosen(trace)
    if not rows:
        return ""
    pids = sorted({int(trace.records["pid"][i]) for i in rows})
    text = "".join(Formatter(trace).lines(np.array(rows))).splitlines()
    left, height = LANE * len(pids) + 12, ROW * (len(rows) + 2)
    parts = []
    for n, pid in enumerate(pids):
        x = LANE * n + LANE // 2
        label = f"pid {pid}" if pid else "idle"
        parts.append(
            f'<text x="{x}" y="12" text-anchor="middle">{label}</text>'
            f'<line x1="{x}" x2="{x}" y1="{ROW}" y2="{height - ROW}" stroke="#999"/>'
        )
    start = int(trace.records["time"][rows[0]])
    for n, i in enumerate(rows):
        y = ROW * (n + 2)
        x = LANE * pids.index(int(trace.records["pid"][i])) + LANE // 2
        late = (int(trace.records["time"][i]) - start) * 1000 / trace.frequency
        words = text[n].split(None, 4)[4] if len(text[n].split(None, 4)) > 4 else text[n]
        parts.append(
            f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{_colour(words)}"/>'
            f'<text x="{left}" y="{y}">{late:8.3f} ms  {html.escape(" ".join(words.split()))}</text>'
        )
    return _svg(860, height, "timeline", parts)


def _colour(words: str) -> str:
    name = words.split(" ", 1)[0]
    if name in ("map", "pte_set", "alloc", "acquire"):
        return "#2a7"
    return "#c33" if name in ("unmap", "pte_clear", "free", "release", "exit") else "#57b"


def _leaves(trace: Trace, end: int) -> dict[int, dict[int, tuple[int, int]]]:
    """root -> address -> (frame, bits) after record `end`."""
    tables: dict[int, dict[int, tuple[int, int]]] = {}
    set_ = trace.table.id("pte_set")
    for i in trace.of("pte_set", "pte_clear").tolist():
        if i > end:
            break
        root, va, frame, bits = trace.records["args"][i, :4].tolist()
        if trace.records["event"][i] == set_:
            tables.setdefault(root, {})[va] = (frame, bits)
        else:
            tables.get(root, {}).pop(va, None)
    return tables


def _in_order(tables: dict[int, dict[int, tuple[int, int]]], frames: set[int]) -> list[int]:
    """Frames as they follow each other in the first table that has them."""
    mapped = (f for leaves in tables.values() for _, (f, _) in sorted(leaves.items()))
    return list(dict.fromkeys([f for f in mapped if f in frames] + sorted(frames)))


def memory(trace: Trace) -> str:
    """Frames in the middle, and above and below them the pages that map them, after the last call."""
    ends = [end for _, end in _calls(trace)] + trace.of("map").tolist()
    if not ends or not _frames(trace):
        return ""
    when = max(ends)
    frames = _in_order(_leaves(trace, when), _frames(trace))[:PAGES]
    time = int(trace.records["time"][when])
    free: set[int] = set()
    for i in trace.of("alloc", "free").tolist():
        if i <= when:
            frame = int(trace.records["args"][i, 0])
            (free.add if trace.records["event"][i] == trace.table.id("free") else free.discard)(
                frame
            )
    parts, width = [], 140
    lanes: list[int] = []
    for root, leaves in _leaves(trace, when).items():
        owners = [pid for since, pid in trace.roots.get(root, []) if since <= time]
        mine = [(va, f, bits) for va, (f, bits) in sorted(leaves.items()) if f in frames]
        if not mine or not owners:
            continue
        lanes.append(root)
        y = 44 + 44 * (len(lanes) if len(lanes) > 1 else 0)
        for va, frame, bits in mine:
            x = 90 + width * frames.index(frame)
            mark = " S" if bits & S else ""
            parts.append(
                f'<rect x="{x}" y="{y - 16}" width="120" height="24" fill="none" stroke="#57b"/>'
                f'<text x="{x + 6}" y="{y}">{va:#x}{mark}</text>'
                f'<line x1="{x + 60}" x2="{x + 60}" y1="{y + 8 if y < 70 else y - 16}" '
                f'y2="{68 if y < 70 else 92}" stroke="#57b"/>'
            )
        parts.append(f'<text x="4" y="{y}">pid {owners[-1]}</text>')
    for n, frame in enumerate(frames):
        x = 90 + width * n
        dead = frame in free
        parts.append(
            f'<rect x="{x}" y="68" width="120" height="24" fill="{"#fbb" if dead else "#cec"}"/>'
            f'<text x="{x + 6}" y="84" fill="#000">{frame:#x}{" free" if dead else ""}</text>'
        )
    parts.append('<text x="4" y="84">frames</text>')
    return _svg(90 + width * len(frames), 60 + 44 * max(2, len(lanes) + 1), "memory", parts)


def _svg(width: int, height: int, label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}" '
        f'font-size="11" font-family="monospace" fill="currentColor">{"".join(parts)}</svg>'
    )
