"""The rules a sound run obeys, one small function each: it looks at a trace and yields what is wrong.

To add one: write a function that takes a `Run` and yields Violations, and decorate it with the events it needs
to have been recorded throughout. Give it a passing and a failing trace in tests/trace/test_rules.py.
A rule is undecidable, and `check` says so, if its events were off, or if records were lost and it cannot work
without them (`gaps=False`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Callable, Iterator

import numpy as np

from tools.trace.requests import Request, Requests
from tools.trace.trace import Trace

PAGE = 4096
DONE, ERROR = 2, 3
SERVED = 1


@dataclass(frozen=True)
class Violation:
    """One sentence on what is wrong, and the records that show it."""

    text: str
    records: tuple[int, ...]


class Run:
    """A trace with what several rules need, made once."""

    def __init__(self, trace: Trace):
        self.trace = trace

    @cached_property
    def requests(self) -> list[Request]:
        """Every request."""
        return Requests(self.trace).all

    @cached_property
    def end(self) -> int:
        """Time of the last record."""
        return int(self.trace.records["time"][-1]) if len(self.trace.records) else 0

    def rows(self, *events: str) -> Iterator[tuple[int, str, int, dict[str, int]]]:
        """Records of the events: index, name, pid, arguments by name."""
        trace = self.trace
        indices = trace.of(*events)
        rows = trace.records[indices]
        for i, event, pid, args in zip(
            indices.tolist(), rows["event"].tolist(), rows["pid"].tolist(), rows["args"].tolist()
        ):
            info = trace.table.events[event]
            yield i, info.name, pid, dict(zip((a for a, _ in info.arguments), args))

    def name(self, pid: int, i: int) -> str:
        """`pid 4 (crypto_cli)`."""
        return f"pid {pid} ({self.trace.name_at(pid, i)})"


Found = Iterator[Violation]


@dataclass(frozen=True)
class Rule:
    """A rule: its name, what it demands in one line, the events it needs, whether it stands losses."""

    name: str
    demand: str
    events: tuple[str, ...]
    gaps: bool
    look: Callable[[Run], Found]


RULES: list[Rule] = []


def rule(
    demand: str, *events: str, gaps: bool = False
) -> Callable[[Callable[[Run], Found]], Callable[[Run], Found]]:
    """Adds a function to the table of rules. gaps: it is decidable even where records were lost."""

    def add(look: Callable[[Run], Found]) -> Callable[[Run], Found]:
        RULES.append(Rule(look.__name__.replace("_", "-"), demand, events, gaps, look))
        return look

    return add


@rule("the time on a hart never goes back", gaps=True)
def time_goes_on(run: Run) -> Found:
    """An interrupt in the middle of an emission may swap neighbours; anything more is a broken clock."""
    r = run.trace.records
    for hart in np.unique(r["hart"]).tolist():
        mine = np.flatnonzero((r["hart"] == hart) & (r["sequence"] > 0))
        order = mine[np.argsort(r["sequence"][mine], kind="stable")]
        back = np.flatnonzero(
            np.diff(r["time"][order].astype(np.int64)) < -run.trace.frequency // 1000
        )
        for i in back.tolist():
            pair = (int(order[i]), int(order[i + 1]))
            yield Violation(f"hart {hart}: a later record has an earlier time", pair)


@rule("requests are taken in the order they were queued, each once", "enqueue", "dequeue")
def first_in_first_out(run: Run) -> Found:
    """What leaves the queue is what entered it first."""
    waiting: list[tuple[int, int]] = []
    known = not run.trace.missing_before
    for i, event, _, a in run.rows("enqueue", "dequeue", "complete"):
        if event == "enqueue":
            waiting.append((a["request"], i))
            known = True
            continue
        place = [n for n, (number, _) in enumerate(waiting) if number == a["request"]]
        if event == "complete":  # skipped while it waited
            waiting = [w for w in waiting if w[0] != a["request"]]
        elif not place:
            if known:
                yield Violation(f"request {a['request']} is taken but is not in the queue", (i,))
        else:
            if place[0]:
                ahead = waiting[0]
                yield Violation(
                    f"request {a['request']} is taken before request {ahead[0]}", (ahead[1], i)
                )
            del waiting[place[0]]


@rule(
    "within a request: dequeue, map, state, unmap, complete, in this order",
    "enqueue",
    "dequeue",
    "map",
    "unmap",
    "complete",
)
def steps_nest(run: Run) -> Found:
    """A step comes after the one it depends on."""
    needed = (
        ("dequeue", "enqueue"),
        ("map", "dequeue"),
        ("state", "map"),
        ("unmap", "map"),
        ("complete", "dequeue"),
    )
    for q in run.requests:
        if "enqueue" not in q.steps:
            continue  # began before the trace
        for step, before in needed:
            if step not in q.steps:
                continue
            if before not in q.steps:
                if step != "complete" or q.outcome == SERVED:
                    yield Violation(
                        f"request {q.number}: {step} without {before}", (q.steps[step],)
                    )
            elif q.steps[step] < q.steps[before]:
                yield Violation(
                    f"request {q.number}: {step} before {before}", (q.steps[step], q.steps[before])
                )
        if "state" in q.steps and "unmap" in q.steps and q.steps["unmap"] < q.steps["state"]:
            yield Violation(
                f"request {q.number}: state changed after unmap",
                (q.steps["unmap"], q.steps["state"]),
            )


@rule("no state change without a mapping to make it through", "map", "unmap", "state")
def state_is_mapped(run: Run) -> Found:
    """A server's flag lies in a range that is mapped into it at that moment."""
    mapped: dict[int, list[tuple[int, int]]] = {}
    clients = (
        {int(c) for c in run.trace.arg("fork", "child", run.trace.of("fork"))}
        if len(run.trace.of("fork"))
        else set()
    )
    servers = {q.server for q in run.requests if q.server}
    for i, event, pid, a in run.rows("map", "unmap", "state"):
        if event == "map":
            mapped.setdefault(a["dst"], []).append((a["to"], a["to"] + a["size"]))
        elif event == "unmap":
            ranges = mapped.get(a["target"], [])
            mapped[a["target"]] = [r for r in ranges if r[0] // PAGE != a["va"] // PAGE]
        elif pid in servers and pid not in clients:
            if not any(start <= a["op"] < end for start, end in mapped.get(pid, [])):
                yield Violation(
                    f"{run.name(pid, i)} changes the state at {a['op']:#x}, where nothing is mapped",
                    (i,),
                )


@rule("nothing is mapped twice in one place, nor unmapped twice", "map", "unmap", "exec", "exit")
def mapped_once(run: Run) -> Found:
    """Shared ranges of one process do not overlap, and what is taken back was there."""
    mapped: dict[int, dict[int, tuple[int, int]]] = {}  # pid -> page -> (record, count)
    complete = not run.trace.missing_before
    for i, event, pid, a in run.rows("map", "unmap", "exec", "exit", "fork"):
        if event in ("exec", "exit"):
            mapped.pop(pid, None)
        elif event == "fork":
            mapped[a["child"]] = dict(
                mapped.get(pid, {})
            )  # a child shares its parent's shared pages
        else:
            start = a["to"] if event == "map" else a["va"]
            target = a["dst"] if event == "map" else a["target"]
            pages = mapped.setdefault(target, {})
            for page in range(start // PAGE, (start + a["size"] - 1) // PAGE + 1):
                if event == "map":
                    if page in pages:
                        text = f"{run.name(target, i)}: page {page * PAGE:#x} is mapped twice"
                        yield Violation(text, (pages[page][0], i))
                    pages[page] = (i, 1)
                elif page in pages:
                    del pages[page]
                elif complete:
                    text = f"{run.name(target, i)}: page {page * PAGE:#x} is unmapped but was not mapped"
                    yield Violation(text, (i,))


@rule(
    "a frame is allocated only when free, freed once, and not while it is mapped",
    "alloc",
    "free",
    "pte_set",
    "pte_clear",
)
def frames_are_freed_once(run: Run) -> Found:
    """Follows every frame from allocation to free."""
    trace = run.trace
    allocated: dict[int, int] = {}
    free: dict[int, int] = {}
    mapped: dict[int, dict[tuple[int, int], int]] = {}
    leaves: dict[tuple[int, int], int] = {}
    for i, event, _, a in run.rows("alloc", "free", "pte_set", "pte_clear"):
        frame = a["frame"]
        if event == "alloc":
            if frame in allocated:
                yield Violation(
                    f"frame {frame:#x} is allocated while it is in use", (allocated[frame], i)
                )
            allocated[frame] = i
            free.pop(frame, None)
        elif event == "free":
            if frame in free:
                yield Violation(f"frame {frame:#x} is freed twice", (free[frame], i))
            holders = mapped.get(frame)
            if holders:
                (root, va), at = next(iter(holders.items()))
                text = f"frame {frame:#x} is freed while page {va:#x} of table {root:#x} maps it"
                yield Violation(text, (at, i))
            allocated.pop(frame, None)
            free[frame] = i
        else:
            key = (a["root"], a["va"])
            old = leaves.pop(key, None)
            if old is not None:
                mapped.get(old, {}).pop(key, None)
            if event == "pte_set":
                if frame in free and trace.records["sequence"][i]:
                    yield Violation(
                        f"frame {frame:#x} is mapped while it is free", (free[frame], i)
                    )
                leaves[key] = frame
                mapped.setdefault(frame, {})[key] = i


@rule(
    "a frame's count follows its references and never leaves zero by a reference",
    "alloc",
    "ref",
    "unref",
    "free",
)
def counts_add_up(run: Run) -> Found:
    """Counts in the records against counts kept here.

    Two harts may emit in the other order than they counted, so a frame is judged when its next life
    begins, or at the end: what came in after its `free` belongs to the life before.
    """
    lives: dict[int, tuple[int, int, int]] = {}  # frame: references, last record, record of `free`
    for i, event, _, a in run.rows("alloc", "ref", "unref", "free"):
        frame = a["frame"]
        count, _, freed = lives.get(frame, (0, i, -1))
        if event == "alloc":
            if frame in lives and freed >= 0:
                yield from settled(frame, *lives[frame])
            lives[frame] = (1, i, -1)
        elif frame in lives:
            now = count + (1 if event == "ref" else -1)
            lives[frame] = (now, i, i if event == "free" else freed)
    for frame, (count, last, freed) in lives.items():
        if freed >= 0 or count < 1:
            yield from settled(frame, count, last, freed)


def settled(frame: int, count: int, last: int, freed: int) -> Found:
    """A frame that was freed, or should have been, has no reference left, and none too few."""
    if count > 0 and freed == last:
        yield Violation(f"frame {frame:#x} is freed with {count + 1} references", (freed, last))
    elif count != 0 or freed < 0:
        yield Violation(f"frame {frame:#x}: a reference to a free frame", (max(freed, 0), last))


@rule("a process's size goes on from where it was", "resize")
def size_follows(run: Run) -> Found:
    """Each change of sz starts from the last known one; exec and fork begin anew."""
    size: dict[int, tuple[int, int]] = {}
    for i, event, pid, a in run.rows("resize", "exec", "exit"):
        if event != "resize":
            size.pop(pid, None)
            continue
        target = a["target"]
        known = size.get(target)
        if known and known[0] != a["old"]:
            text = (
                f"{run.name(target, i)}: size was {known[0]:#x} and now changes from {a['old']:#x}"
            )
            yield Violation(text, (known[1], i))
        size[target] = (a["new"], i)


@rule(
    "mappings change the size by whole pages, and the top's unmapping gives it back",
    "map",
    "unmap",
    "resize",
)
def size_follows_mappings(run: Run) -> Found:
    """A map is announced by a resize of its destination that covers it."""
    last: dict[int, tuple[int, int, int]] = {}
    for i, event, _, a in run.rows("resize", "map"):
        if event == "resize":
            last[a["target"]] = (a["old"], a["new"], i)
            continue
        pages_end = (a["to"] + a["size"] + PAGE - 1) // PAGE * PAGE
        known = last.get(a["dst"])
        if known and known[1] < pages_end:
            text = f"{run.name(a['dst'], i)}: mapped up to {pages_end:#x} but its size is {known[1]:#x}"
            yield Violation(text, (known[2], i))


@rule("a process ends with no page left mapped", "pte_set", "pte_clear", "free", "fork", "exec")
def exit_leaves_nothing(run: Run) -> Found:
    """When the root of a page table is freed, every page it mapped has been given back."""
    leaves: dict[int, dict[int, int]] = {}  # root -> va -> record
    owner: dict[int, int] = {int(p["root"]): int(p["pid"]) for p in run.trace.processes}
    for i, event, pid, a in run.rows("pte_set", "pte_clear", "free", "fork", "exec"):
        if event == "pte_set":
            leaves.setdefault(a["root"], {})[a["va"]] = i
        elif event == "pte_clear":
            leaves.get(a["root"], {}).pop(a["va"], None)
        elif event != "free":
            owner[a["root"]] = a["child"] if event == "fork" else pid
        else:
            left = leaves.pop(a["frame"], None)
            if left:
                va, at = next(iter(left.items()))
                whose = run.name(owner.get(a["frame"], 0), i)
                text = f"the page table of {whose} is freed with {len(left)} pages mapped, {va:#x} first"
                yield Violation(text, (at, i))


@rule("every request ends", "enqueue", "complete")
def requests_end(run: Run) -> Found:
    """A request still open at the end is one that was queued long before it."""
    patience = run.trace.frequency  # a second
    time = run.trace.records["time"]
    for q in run.requests:
        first = q.records[0]
        if "complete" not in q.steps and run.end - int(time[first]) > patience:
            yield Violation(
                f"request {q.number} of {run.name(q.client, first)} never ends", tuple(q.records)
            )


@rule("a served request was answered", "dequeue", "state", "complete")
def served_means_answered(run: Run) -> Found:
    """The server raised the flag, to DONE or ERROR, before the client was released."""
    for q in run.requests:
        if (
            "complete" in q.steps
            and q.outcome == SERVED
            and "dequeue" in q.steps
            and "state" not in q.steps
        ):
            yield Violation(
                f"request {q.number} ends as served, but its state never changed", tuple(q.records)
            )


@rule("a process does nothing after its exit", "exit", "fork")
def the_dead_are_silent(run: Run) -> Found:
    """Between exit and the reuse of a pid only the teardown of its own memory happens."""
    dead: dict[int, int] = {}
    for i, event, pid, a in run.rows(
        "exit", "fork", "exec", "map", "enqueue", "sys_enter", "server_death"
    ):
        if event == "fork":
            dead.pop(a["child"], None)
        elif event == "server_death":  # it lives on with a new program
            dead.pop(a["server"], None)
        if pid in dead:
            yield Violation(f"{run.name(pid, i)} is dead and yet does {event}", (dead[pid], i))
        if event == "exit":
            dead[pid] = i
