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

from tools.trace.history import History, Leaves
from tools.trace.requests import Request, Requests
from tools.trace.trace import Trace

PAGE = 4096
LARGEST = 1 << 33  # bytes of one mapping: shared pages are in memory, and no guest has more
BLOCK = 10_000  # records turned into python's numbers at a time
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
        """Records of the events: index, name, pid, arguments by name. For rules about what is seldom: a row takes
        a microsecond; those about frames and page tables work on columns.
        """
        trace = self.trace
        indices = trace.of(*events)
        arguments = {i: [a for a, _ in e.arguments] for i, e in trace.table.events.items()}
        names = {i: e.name for i, e in trace.table.events.items()}
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            rows = trace.records[block]
            for i, event, pid, args in zip(
                block.tolist(), rows["event"].tolist(), rows["pid"].tolist(), rows["args"].tolist()
            ):
                yield i, names[event], pid, dict(zip(arguments[event], args))

    def column(self, argument: str, indices: np.ndarray) -> np.ndarray:
        """One argument of records of any events that have it."""
        events = self.trace.records["event"][indices]
        out = np.zeros(len(indices), np.uint64)
        for event in np.unique(events).tolist():
            mine = np.flatnonzero(events == event)
            slot = self.trace.table.events[event].slot(argument)
            out[mine] = self.trace.records["args"][indices[mine], slot]
        return out

    def history(self, argument: str, *events: str) -> History:
        """What happened to each value of an argument that all these events have."""
        indices = self.trace.of(*events)
        return History.of(
            self.column(argument, indices), indices, self.trace.records["event"][indices]
        )

    @cached_property
    def leaves(self) -> Leaves:
        """Every mapping of a page that there was."""
        trace = self.trace
        indices = trace.of("pte_set", "pte_clear")
        root, va, frame = (self.column(name, indices) for name in ("root", "va", "frame"))
        made = trace.records["event"][indices] == trace.table.id("pte_set")
        return Leaves.of(root, va, frame, indices, made, len(trace.records))

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
    clients = set(run.trace.arg("fork", "child", run.trace.of("fork")).tolist())
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
            told = False  # of this record already
            if a["size"] > LARGEST:
                yield Violation(f"{run.name(target, i)}: {event} of {a['size']:#x} bytes", (i,))
                continue
            for page in range(start // PAGE, (start + a["size"] - 1) // PAGE + 1):
                records: tuple[int, ...] = ()
                if event == "map":
                    if page in pages:
                        what, records = "mapped twice", (pages[page][0], i)
                    pages[page] = (i, 1)
                elif pages.pop(page, None) is None and complete:
                    what, records = "unmapped but was not mapped", (i,)
                if records and not told:
                    told = True
                    yield Violation(
                        f"{run.name(target, i)}: page {page * PAGE:#x} is {what}", records
                    )


@rule(
    "a frame is allocated only when free, freed once, and not while it is mapped",
    "alloc",
    "free",
    "pte_set",
    "pte_clear",
)
def frames_are_freed_once(run: Run) -> Found:
    """In a frame's history alloc and free alternate, and no mapping of it outlives a free."""
    trace, leaves = run.trace, run.leaves
    lives = run.history("frame", "alloc", "free")
    alloc = lives.event == trace.table.id("alloc")
    for n in np.flatnonzero(lives.follows & (alloc == np.roll(alloc, 1))).tolist():
        what = "allocated while it is in use" if alloc[n] else "freed twice"
        pair = (int(lives.index[n - 1]), int(lives.index[n]))
        yield Violation(f"frame {int(lives.key[n]):#x} is {what}", pair)
    freed = run.history("frame", "free").next_of(leaves.frame, leaves.start)
    _, one_each = np.unique(np.where(freed < leaves.end, freed, -1), return_index=True)
    for n in one_each.tolist():
        if 0 <= freed[n] < leaves.end[n]:
            text = f"frame {int(leaves.frame[n]):#x} is freed while page {int(leaves.va[n]):#x}"
            text += f" of table {int(leaves.root[n]):#x} maps it"
            yield Violation(text, (int(leaves.start[n]), int(freed[n])))
    before = lives.last_of(leaves.frame, leaves.start)
    late = (before >= 0) & trace.emitted[leaves.start]
    late[late] = ~alloc[before[late]]
    for n in np.flatnonzero(late).tolist():
        text = f"frame {int(leaves.frame[n]):#x} is mapped while it is free"
        yield Violation(text, (int(lives.index[before[n]]), int(leaves.start[n])))


@rule(
    "a frame's count follows its references and never leaves zero by a reference",
    "alloc",
    "ref",
    "unref",
    "free",
)
def counts_add_up(run: Run) -> Found:
    """What was added and taken away in each life of a frame.

    Two harts may emit in the other order than they counted, so a life is judged when the next begins, or at the
    end: what came in after its `free` belongs to it, and so does a record that a hart held up for so long (by the
    machine below, between counting and emitting) that it stands in the next life.
    """
    h, table = run.history("frame", "alloc", "ref", "unref", "free"), run.trace.table
    if not len(h.key):
        return
    alloc, free = h.event == table.id("alloc"), h.event == table.id("free")
    first = ~h.follows
    starts = np.flatnonzero(first | alloc)  # of lives; the first of a frame may have begun earlier
    left = np.add.reduceat(np.where(alloc | (h.event == table.id("ref")), 1, -1), starts)
    freed = np.maximum.reduceat(np.where(free, np.arange(len(free)), -1), starts)
    last = np.r_[starts[1:], len(h.key)] - 1
    latest = np.r_[first[starts[1:]], True]
    judged = alloc[starts] & ((freed >= 0) | (latest & (left < 1)))
    for n in np.flatnonzero(judged & ((left != 0) | (freed < 0))).tolist():
        if freed[n] >= 0 and not latest[n]:
            moved = _held_up(
                run, h, int(freed[n]), range(starts[n + 1] + 1, last[n + 1] + 1), left[n]
            )
            left[n] -= moved
            left[n + 1] += moved
        if left[n] == 0 and freed[n] >= 0 or left[n] > 0 and freed[n] < 0:
            continue  # as it should be, now that each record is in its own life
        frame, end = int(h.key[starts[n]]), int(h.index[last[n]])
        at = int(h.index[freed[n]]) if freed[n] >= 0 else int(h.index[starts[n]])
        if left[n] > 0 and freed[n] == last[n]:
            yield Violation(f"frame {frame:#x} is freed with {left[n] + 1} references", (at,))
        else:
            yield Violation(f"frame {frame:#x}: a reference to a free frame", (at, end))


def _held_up(run: Run, h: History, freed: int, later: range, missing: int) -> int:
    """The references missing when a frame was freed that its next life's records give back: those of harts that
    emitted nothing else since it was freed, so that they may have counted before. Negative for references added.
    """
    hart = run.trace.records["hart"]
    step, event = (1, "unref") if missing > 0 else (-1, "ref")
    moved = 0
    for k in later:
        if moved == missing:
            break
        since, at = int(h.index[freed]) + 1, int(h.index[k])
        if h.event[k] == run.trace.table.id(event) and not (hart[since:at] == hart[at]).any():
            moved += step
    return moved


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
    leaves, trace = run.leaves, run.trace
    freed = run.history("frame", "free").next_of(leaves.root, leaves.start)
    left = np.flatnonzero((freed >= 0) & (freed < leaves.end))
    for i in np.unique(freed[left]).tolist():
        pages = left[freed[left] == i]
        root, va = int(leaves.root[pages[0]]), int(leaves.va[pages[0]])
        now = int(trace.records["time"][i])
        owners = [pid for since, pid in trace.roots.get(root, []) if since <= now]
        whose = run.name(owners[-1] if owners else 0, i)
        text = f"the page table of {whose} is freed with {len(pages)} pages mapped, {va:#x} first"
        yield Violation(text, (int(leaves.start[pages[0]]), i))


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
    trace = run.trace
    acts = trace.of("exit", "fork", "exec", "map", "enqueue", "sys_enter", "server_death")
    begins = {
        "fork": "child",
        "server_death": "server",
    }  # a dead server lives on with a new program
    others = {name: trace.of(name) for name in begins}
    pids = [trace.records["pid"][acts].astype(np.uint64)]
    pids += [trace.arg(name, begins[name], i) for name, i in others.items()]
    lives = np.concatenate([acts, *others.values()])
    does = np.arange(len(lives)) < len(acts)
    # In one record, what befalls a process comes before what it does.
    h = History.of(np.concatenate(pids), lives * 2 + does, trace.records["event"][lives])
    did = h.index % 2 == 1
    died = did & (h.event == trace.table.id("exit"))
    for n in np.flatnonzero(h.follows & np.roll(died, 1) & did).tolist():
        pair = (int(h.index[n - 1]) // 2, int(h.index[n]) // 2)
        text = f"{run.name(int(h.key[n]), pair[1])} is dead and yet does"
        yield Violation(f"{text} {trace.table.events[int(h.event[n])].name}", pair)
