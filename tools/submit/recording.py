"""Runs the guests that showed findings once more and records them; what the traces say becomes evidence.

The probes decide what is wrong by looking before and after. The trace says when, and who: the first of two
frees, the copy that is never given back.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from tools.guest.memory import GuestError
from tools.guest.stack import Frame
from tools.submit.findings import Finding, Report
from tools.submit.lab import Lab
from tools.submit.observe import Observer
from tools.submit.probes import ALL, Bench, Probe
from tools.submit.probes.base import EVIDENCE, Enough, frame_text
from tools.submit.session import Unanswered
from tools.submit.shape import Shape
from tools.trace import trace as traces
from tools.trace.check import judge
from tools.trace.rules import RULES
from tools.trace.trace import Trace

LOST = "lost"  # frames that nobody maps and nobody frees
EXPLAINED: dict[str, tuple[str, ...]] = {  # id -> what of its trace shows it
    "L1": ("frames-are-freed-once",),
    "L3": ("frames-are-freed-once",),
    "L2": (LOST,),
    "L4": (LOST,),
    "X8": (LOST,),
    "U2": (LOST, "frames-are-freed-once"),
    "M1": ("size-follows-mappings", "exit-leaves-nothing"),
    "M5": ("frames-are-freed-once", "exit-leaves-nothing"),
    "U1": ("exit-leaves-nothing",),
    "U5": ("exit-leaves-nothing",),
}
PLACED = ("L1", "L2", "L4")  # ids whose place only the trace knows
OWN_RUNS = "own programs"  # the probe of which L4 is placed so; another has watched who is to blame
SHOWN = 2  # violations of one rule that become evidence


@dataclass(frozen=True)
class Told:
    """What a trace shows: a sentence, who did it in lines, and the frame of the kernel to blame; end:
    for a lost frame, who let its last mapping go.
    """

    text: str
    lines: tuple[str, ...]
    place: Frame | None
    end: Frame | None = None


def record(
    lab: Lab,
    shape: Shape,
    report: Report,
    wanted: Callable[[Finding], bool],
    folder: Path,
    jobs: int,
) -> None:
    """Records the findings that are `wanted` into `folder` and adds what is learned to them."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = {p.name: p.stage for p in ALL}
    todo: list[tuple[Probe, list[Finding], frozenset[str]]] = []
    for probe in ALL:
        mine = [f for f in report.findings if f.probe == probe.name and wanted(f)]
        if not probe.observable:
            for finding in mine if probe.scene else ():
                finding.guest, finding.staged = 1, True
        mine = [f for f in mine if f.guest and (probe.observable or f.staged)]
        if mine:
            known = frozenset(f.id for f in report.findings if stages.get(f.probe, 0) < probe.stage)
            todo.append((probe, mine, known))
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(lambda t: _again(lab, shape, t[0], t[1], t[2], folder), todo))


def _again(
    lab: Lab, shape: Shape, probe: Probe, mine: list[Finding], known: frozenset[str], folder: Path
) -> None:
    bench = Bench(lab, shape, probe.name, known)
    for finding in mine:
        bench.record.setdefault(finding.guest, folder / f"{finding.id}.trace")
    try:
        (probe.run if probe.observable else probe.scene or probe.run)(bench)
    except (Enough, Unanswered, GuestError, OSError):
        pass  # what was recorded until then counts
    for finding in mine:
        path, observer = bench.record[finding.guest], bench.recorded.get(finding.guest)
        if observer is not None and path.is_file():
            finding.trace = str(path)
            if not finding.staged:
                explain(finding, traces.load(path), observer)


def explain(finding: Finding, trace: Trace, observer: Observer) -> None:
    """Adds to a finding what its trace shows, and where only the trace can tell, the place."""
    for name in EXPLAINED.get(finding.id, ()):
        found = lost_frames(trace, observer) if name == LOST else broken(trace, name, observer)
        for i, told in enumerate(found):
            place = _end(told) if finding.id == "L4" else told.place
            if i == 0 and place and place.line and placed(finding):
                finding.function = place.function or finding.function
                finding.file, finding.line = place.line
            if i < SHOWN and len(finding.evidence) + len(told.lines) < EVIDENCE:
                finding.evidence += [f"recorded: {told.text}", *told.lines]


def placed(finding: Finding) -> bool:
    """Does its place come from the trace?"""
    return finding.id in PLACED and (finding.id != "L4" or finding.probe == OWN_RUNS)


def _end(told: Told) -> Frame | None:
    """Who let a lost frame go, if it is a function of the assignment: exit lets all frames go."""
    name = told.end.function if told.end else None
    return told.end if name and ("shared_" in name or "crypto" in name) else None


def broken(trace: Trace, rule: str, observer: Observer) -> Iterator[Told]:
    """Violations of a rule of tools/trace, each with who did what."""
    chosen = [r for r in RULES if r.name == rule]
    for violation in judge(trace, chosen)[0].violations:
        lines, place = [], None
        for i in violation.records:
            row = trace.records[i]
            event = trace.table.events[int(row["event"])].name
            stack = observer.stack(int(row["sequence"]))
            if stack and event == "free":
                place = place or stack[0]
            lines.append(f"  {event} by pid {int(row['pid'])}{_by(stack)}")
        yield Told(violation.text, tuple(lines), place)


def lost_frames(trace: Trace, observer: Observer) -> Iterator[Told]:
    """Frames allocated and mapped in the trace whose last mapping goes and that are never freed."""
    alloc: dict[int, int] = {}
    holders: dict[int, set[tuple[int, int]]] = {}
    cleared: dict[int, int] = {}
    for i in trace.of("alloc", "free", "pte_set", "pte_clear").tolist():
        row = trace.records[i]
        event, args = trace.table.events[int(row["event"])].name, row["args"].tolist()
        if event == "alloc":
            alloc[args[0]] = i
            cleared.pop(args[0], None)
        elif event == "free":
            alloc.pop(args[0], None)
        elif event == "pte_set":
            holders.setdefault(args[2], set()).add((args[0], args[1]))
        else:
            held = holders.get(args[2], set())
            held.discard((args[0], args[1]))
            if not held:
                cleared[args[2]] = i
    for frame, i in alloc.items():
        last = cleared.get(frame)
        if last is None:
            continue
        taken = observer.stack(int(trace.records[i]["sequence"]))
        gone = observer.stack(int(trace.records[last]["sequence"]))
        lines = (
            f"  alloc by pid {int(trace.records[i]['pid'])}{_by(taken)}",
            f"  its last mapping goes, by pid {int(trace.records[last]['pid'])}{_by(gone)}",
        )
        text = f"frame {frame:#x} is never given back"
        yield Told(text, lines, taken[0] if taken else None, gone[0] if gone else None)


def _by(stack: list[Frame]) -> str:
    named = [frame_text(f) for f in stack[:4] if f.function]
    return f" in {' < '.join(named)}" if named else ""
