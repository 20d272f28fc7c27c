"""Probes of unmap_shared_pages: undoing what map did, and refusing everything else."""

from __future__ import annotations

from tools.submit.look import Look
from tools.submit.probes.base import (
    MAXVA,
    PAGE,
    REGION,
    Bench,
    Outcome,
    Probe,
    changes,
    culprit,
    fresh,
    rounded,
)
from tools.submit.session import Actor, Answer, Session
from tools.submit.shape import Calls

PAIRS = (  # offset of the unmapped range in the mapping, bytes
    (0, PAGE),
    (0, 100),
    (0, 2 * PAGE),
    (0x10, 16),
    (0x800, 0x800),
    (0xFF0, 32),
    (0x800, PAGE + 0x800),
)


def _mapped(
    bench: Bench,
    g: Session,
    calls: Calls,
    child: Actor,
    pages: int,
    offset: int = 0,
    size: int = 0,
) -> int:
    """Maps a range of so many pages, whole pages if no size is given; its address, which some trees have without the
    offset, or 0 if that does not work here.
    """
    before = g.quiet()
    size = size or pages * PAGE
    outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena + offset, size))
    if not outcome.accepted:
        return 0
    after, inside = g.quiet(), outcome.value % PAGE
    first, end = outcome.value - inside, outcome.value - inside + pages * PAGE
    whole = fresh(before, after, child.pid) == list(range(first, end, PAGE))
    covered = rounded(after.size(child.pid)) == end
    sound = whole and rounded(inside + size) == pages * PAGE
    return outcome.value if sound and (covered or bench.shape.window) else 0


def pairs(bench: Bench) -> None:
    """A mapping, then its unmapping. Where the range itself is not mapped as it should be, that of as
    many whole pages, of which a tree may refuse to unmap a part.
    """
    for offset, size in PAIRS:
        for matching in (True, False):
            if _pair(bench, offset, size, matching):
                break


def _pair(bench: Bench, offset: int, size: int, matching: bool) -> bool:
    """One pair; False if there was no mapping to undo. matching: of the very range."""
    count = (offset + size + PAGE - 1) // PAGE
    with bench.guest() as (g, calls):
        child = g.fork(1)
        start = g.quiet()
        part = (offset, size) if matching else (0, 0)
        at = _mapped(bench, g, calls, child, count, *part)
        if not at:
            if not matching:
                bench.undecided("U1", "no mapping could be made to unmap")
            return False
        mapped, at = g.quiet(), at if matching else at + offset
        offset = at % PAGE
        outcome = bench.attempt(g, lambda: calls.unmap(child, at, size))
        what = (
            f"unmap {size} bytes at offset {offset:#x} of a mapping of {count} page(s): {outcome}"
        )
        after = None if outcome.panic else g.quiet()
        if after and not matching and not changes(mapped, after, child.pid):
            return True
        if after:
            _judge_freed(bench, mapped, after, g, count, what)
        _judge_pair(bench, outcome, start, mapped, after, child.pid, offset, count, what, matching)
        end = bench.farewell(g, child) if after else outcome
        told = bench.found("U1", "U4")  # what is left mapped, or sz, then is why
        if after and end.panic and (matching or not told and fresh(after, mapped, child.pid)):
            short = len(fresh(after, mapped, child.pid)) < count
            bench.find(
                "U4" if offset and (short or not matching) else "U1",
                "After a mapping was undone, the process cannot leave without a panic.",
                [what, *changes(mapped, after, child.pid), f"when it is reaped: {end}"],
            )
    return True


def _judge_freed(
    bench: Bench, mapped: Look, after: Look, g: Session, count: int, what: str
) -> None:
    """Unmapping must leave the frames to their owner."""
    sources = [mapped.page(g.main.pid, g.arena + i * PAGE) for i in range(count)]
    freed = [page for page in sources if page and page.pa in after.free]
    if (freed or after.free.problem) and not bench.found("L1"):
        bench.find(
            "L1",
            "Unmapping a shared frame frees it under its owner.",
            [
                what,
                *(f"pid {g.main.pid} still maps {page}, but the frame is free" for page in freed),
            ]
            + ([f"free list: {after.free.problem}"] if after.free.problem else []),
            function="unmap_shared_pages",
        )


def _judge_pair(
    bench: Bench,
    outcome: Outcome,
    start: Look,
    mapped: Look,
    after: Look | None,
    pid: int,
    offset: int,
    count: int,
    what: str,
    matching: bool,
) -> None:
    if outcome.lock_panic:
        bench.find("K2", "Unmapping ends in a panic about locks.", [what])
        return
    if after is None or outcome.error:
        id = "U4" if "aligned" in outcome.panic else "U1"
        bench.find(id, "Unmapping what was mapped stops the kernel.", [what])
        return
    gone = len(fresh(after, mapped, pid))
    evidence = [what, *changes(mapped, after, pid)]
    sizes = (start.size(pid), rounded(start.size(pid)))
    if outcome.answer and outcome.answer.value != 0:
        id = "U4" if offset and gone == 0 else "U1"
        bench.find(id, "Unmapping what was mapped is refused.", evidence)
    elif gone != count:
        bench.find(
            "U4" if offset and gone < count else "U1",
            f"The range lies in {count} page(s) of the mapping, but {gone} "
            f"{'is' if gone == 1 else 'are'} unmapped.",
            evidence,
        )
    elif matching and after.size(pid) not in sizes:
        bench.find(
            "U1",
            f"After map and unmap sz is {after.size(pid):#x}; before both it was {start.size(pid):#x}.",
            evidence,
        )


def private_memory(bench: Bench) -> None:
    """Memory that is nobody else's must stay, also behind a shared page."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        child.fill(g.arena, 4 * PAGE, 1)
        before = g.quiet()
        va = g.arena + 2 * PAGE
        outcome = bench.attempt(g, lambda: calls.unmap(child, va, PAGE))
        _judge_private(bench, g, child, before, outcome, va, f"unmap a private page: {outcome}")
    with bench.guest() as (g, calls):
        child = g.fork(1)
        va, size = child.call("sbrk", PAGE).value, (1 << 64) - PAGE
        child.fill(va, PAGE, 1)  # the topmost page: it can go without the program's death
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.unmap(child, va, size))
        if not outcome.error:  # else it is no more than U3
            text = f"unmap {size:#x} bytes from a private page on, which wraps around: {outcome}"
            _judge_private(bench, g, child, before, outcome, va, text)
    with bench.guest() as (g, calls):
        child = g.fork(1)
        at = _mapped(bench, g, calls, child, 1)
        if not at:
            return
        heap = child.call("sbrk", PAGE).value
        if heap != at + PAGE:
            return
        child.fill(heap, PAGE, 1)
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.unmap(child, at, 2 * PAGE))
        text = f"unmap a shared page and the private one behind it: {outcome}"
        _judge_private(bench, g, child, before, outcome, heap, text)


def private_between(bench: Bench) -> None:
    """A private page between two shared ones: a range over all three is nothing to unmap."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        at = _mapped(bench, g, calls, child, 2)  # as many pages are shared as the range has
        private = at + 2 * PAGE
        if not at or child.call("sbrk", PAGE).value != private:
            return
        child.fill(private, PAGE, 1)
        if _mapped(bench, g, calls, child, 1) != private + PAGE:
            return
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.unmap(child, at + PAGE, 3 * PAGE))
        text = f"unmap a shared page, a private one and a shared one: {outcome}"
        _judge_private(bench, g, child, before, outcome, private, text)


def lent_memory(bench: Bench) -> None:
    """An owner's page that it has lent to another is still its own memory, and no shared mapping."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        va = child.call("sbrk", PAGE).value  # topmost, which is all that some trees take
        child.fill(va, PAGE, 1)
        borrower = g.fork(2, child)
        lent = bench.attempt(g, lambda: calls.share(child, borrower, va, PAGE))
        before = g.quiet()
        owned = before.page(child.pid, va)
        held = before.pages.get(borrower.pid, {}).values()
        holds = [p for p in held if owned and p.pa == owned.pa]
        if not lent.accepted or not holds:
            return
        outcome = bench.attempt(g, lambda: calls.unmap(child, va, PAGE))
        text = f"the owner unmaps a page of its heap that it has lent to another: {outcome}"
        whose = "A page of a process's own, lent to another and so counted as shared,"
        _judge_private(bench, g, child, before, outcome, va, text, whose)


def _judge_private(
    bench: Bench,
    g: Session,
    child: Actor,
    before: Look,
    outcome: Outcome,
    va: int,
    what: str,
    whose: str = "Private memory, not shared with anyone,",
) -> None:
    if outcome.lock_panic:
        bench.find("K2", "Refusing to unmap ends in a panic about locks.", [what])
        return
    if outcome.error:
        bench.find("U2", "Unmapping private memory stops the kernel.", [what])
        return
    after = g.quiet()
    diff = changes(before, after, child.pid)
    if after.page(child.pid, va) is None or not outcome.refused:
        if outcome.answer and outcome.answer.value != -1 or after.page(child.pid, va) is None:
            lines = [what, *diff]
            end = bench.farewell(g, child)
            lines += [f"when the process is reaped: {end}"] if end.panic else []
            bench.find("U2", f"{whose} is unmapped.", lines)
    elif diff and outcome.value == 0 and not any("gone" in line for line in diff):
        text = "Unmapping private memory reports success and changes sz, but unmaps nothing."
        bench.find("U3" if "wraps" in what else "U2", text, [what, *diff])
    elif diff and outcome.refused and outcome.value:
        bench.find(
            "X6", "An unmapping that is refused has already taken pages away.", [what, *diff]
        )


def after_shrinking(bench: Bench) -> None:
    """What sbrk has taken away is no longer there to unmap, and what it has put in its place is not shared."""
    for refilled in (False, True):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            at = _mapped(bench, g, calls, child, 1)
            if not at or bench.attempt(g, lambda: child.call("sbrk", -PAGE)).error:
                return
            if refilled:
                child.call("sbrk", PAGE)
                child.fill(at, PAGE, 1)
            before = g.quiet()
            there = before.page(child.pid, at)
            if (there is not None) != refilled or (there and there.shared):
                return  # sbrk leaves mappings alone
            outcome = bench.attempt(g, lambda: calls.unmap(child, at, PAGE))
            what = f"map a page at {at:#x}, sbrk({-PAGE}), {f'sbrk({PAGE}), ' if refilled else ''}unmap it: {outcome}"
            if refilled:
                whose = "Private memory that lies where a mapping was before sbrk took it away"
                _judge_private(bench, g, child, before, outcome, at, what, whose)
            elif outcome.lock_panic:
                bench.find("K2", "Refusing to unmap ends in a panic about locks.", [what])
            elif outcome.error:
                bench.find("U3", "Unmapping what sbrk has taken away stops the kernel.", [what])
            elif outcome.value == 0 and (diff := changes(before, g.quiet(), child.pid)):
                text = "Unmapping what sbrk has taken away reports success and changes sz."
                bench.find("U3", text, [what, *diff])


def unmapped(bench: Bench) -> None:
    """Addresses where nothing is mapped."""
    for what, where, size in (
        ("just above the heap", None, PAGE),
        ("in an empty region", 0x4000_0000, PAGE),
        ("at MAXVA", MAXVA, PAGE),
        ("far above MAXVA", 1 << 60, PAGE),
        ("in a range that wraps around to address 0x1000", (1 << 64) - PAGE, 2 * PAGE),
    ):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            before = g.quiet()
            va = rounded(before.size(child.pid)) if where is None else where
            outcome = bench.attempt(g, lambda: calls.unmap(child, va, size))
            text = f"unmap {size} bytes {what} ({va:#x}): {outcome}"
            if outcome.lock_panic:
                bench.find("K2", "Refusing to unmap ends in a panic about locks.", [text])
            elif outcome.error:
                bench.find("U3", f"Unmapping an address {what} stops the kernel.", [text])
            elif outcome.answer and outcome.answer.value not in (-1, 0xFFFF_FFFF):
                diff = changes(before, g.quiet(), child.pid)
                if outcome.answer.value == 0:
                    bench.find("U3", f"Unmapping an address {what} reports success.", [text, *diff])


def partly(bench: Bench) -> None:
    """A range that begins in a mapping and ends above it."""
    if "size" not in (bench.shape.unmap_order or ()):
        return  # a call without a size takes a whole mapping
    with bench.guest() as (g, calls):
        child = g.fork(1)
        at = _mapped(bench, g, calls, child, 1)
        if not at:
            bench.undecided("X6", "no good mapping could be made to unmap")
            return
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.unmap(child, at, 2 * PAGE))
        what = f"unmap two pages of which only the first is mapped: {outcome}"
        if outcome.lock_panic:
            bench.find("K2", "Refusing to unmap ends in a panic about locks.", [what])
            return
        if outcome.error:
            bench.find(
                "U3", "Unmapping a range that is only partly mapped stops the kernel.", [what]
            )
            return
        diff = changes(before, g.quiet(), child.pid)
        if outcome.answer and outcome.answer.value == 0:
            bench.find(
                "U3", "Unmapping a range that is only partly mapped reports success.", [what, *diff]
            )
        elif diff:
            bench.find("X6", "An unmapping that fails has already taken pages away.", [what, *diff])


def _forks(bench: Bench, g: Session, child: Actor, lines: list[str]) -> bool:
    """Does a process that holds the newer of two mappings, and has given the older back, fork?"""

    def fork() -> Answer:
        grandchild = g.fork(2, child)
        grandchild.exit()
        return child.ask("W")

    outcome = bench.attempt(g, fork)
    if outcome.panic and not outcome.lock_panic:
        text = "A hole where the older of two mappings was makes fork panic."
        bench.find("U5", text, [*lines, f"then it forks: {outcome}"])
    return not outcome.error


def not_the_top(bench: Bench) -> None:
    """The older of two mappings goes first."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        at = _mapped(bench, g, calls, child, 1)
        second = bench.attempt(g, lambda: calls.share(g.main, child, g.arena + 4 * PAGE, PAGE))
        aside = bench.shape.window  # which sz need not cover
        if not at or not second.accepted or bench.found("M1") and not aside:
            bench.undecided("U5", "two good mappings could not be made")
            return
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.unmap(child, at, PAGE))
        lines = [
            f"two mappings of a page, at {at:#x} and {second.value:#x}; unmap the first: {outcome}"
        ]
        if outcome.error:
            id = "K2" if outcome.lock_panic else "U5"
            bench.find(id, "Unmapping the older of two mappings stops the kernel.", lines)
            return
        after = g.quiet()
        lines += changes(before, after, child.pid)
        if after.page(child.pid, second.value) is None:
            text = "Unmapping the older of two mappings takes the newer away too."
            bench.find("U5", text, lines)
            return
        stray = [] if aside else after.above_size(child.pid)
        lines += [f"above sz now: {page}" for page in stray]
        if not stray and not _forks(bench, g, child, lines):
            return
        end = bench.farewell(g, child)
        if end.panic:
            lines.append(f"when the process is reaped: {end}")
        if stray:
            bench.find(
                "U5",
                "After the older of two mappings is gone, sz no longer covers the newer.",
                lines,
            )
        elif end.panic:
            bench.find("U5", "A hole where the older of two mappings was makes exit panic.", lines)


def large_hole(bench: Bench) -> None:
    """A hole without any page of the table in it: who steps over what is missing must step over that too."""
    if bench.found("U1", "U5", "M1", "M2"):
        return
    with bench.guest() as (g, calls):
        child, size = g.fork(1), 2 * REGION
        heap = rounded(g.main.call("sbrk", size + PAGE).value)
        if heap <= 0:
            return
        first = bench.attempt(g, lambda: calls.share(g.main, child, heap, size))
        second = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, PAGE))
        if not first.accepted or not second.accepted:
            return
        undone = bench.attempt(g, lambda: calls.unmap(child, first.value, size))
        if undone.error or undone.value != 0 or not g.quiet().page(child.pid, second.value):
            return

        def fork() -> Answer:
            g.fork(2, child).exit()
            return child.ask("W")

        forked = bench.attempt(g, fork)
        end = forked if forked.error else bench.farewell(g, child)
        if end.panic and not end.lock_panic:
            frame = culprit(end)
            bench.find(
                "U5",
                "A hole larger than a page of the table, where the older of two mappings was, stops the kernel.",
                [
                    f"mappings of {size:#x} bytes at {first.value:#x} and of a page at {second.value:#x}",
                    "the first is unmapped",
                    f"then the process {'forks' if forked.error else 'exits'}: {end}",
                ],
                line=frame.line if frame else None,
            )


def nested(bench: Bench) -> None:
    """Two mappings, undone in reverse order: sz must be what it was, step by step."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        start = g.quiet().size(child.pid)
        at = _mapped(bench, g, calls, child, 1)
        between = g.quiet().size(child.pid)
        second = bench.attempt(g, lambda: calls.share(g.main, child, g.arena + 4 * PAGE, 2 * PAGE))
        if not at or not second.accepted or bench.found("M1") or bench.shape.window:
            return
        both = g.quiet()
        sizes = [
            f"sz {start:#x}; one page mapped: {between:#x}; two more: {both.size(child.pid):#x}"
        ]
        if rounded(both.size(child.pid)) != second.value + 2 * PAGE:
            return
        for va, pages, wanted in ((second.value, 2, between), (at, 1, start)):
            undone = bench.attempt(g, lambda: calls.unmap(child, va, pages * PAGE))
            if undone.error or undone.value != 0:
                return  # what a single pair tells
            size = g.quiet().size(child.pid)
            sizes.append(f"unmap {pages} page(s) at {va:#x}: {undone}, sz {size:#x}")
            if size not in (wanted, rounded(wanted)):
                text = (
                    f"Two mappings undone in reverse order leave sz at {size:#x}, not {wanted:#x}."
                )
                bench.find("U1", text, sizes)
                return


PROBES = [
    Probe("unmap pairs", ("U1", "U4", "L1"), ("map", "unmap"), pairs),
    Probe("unmap nested", ("U1",), ("map", "unmap"), nested),
    Probe("unmap private memory", ("U2",), ("map", "unmap"), private_memory),
    Probe("unmap private between shared", ("U2", "X6"), ("map", "unmap"), private_between),
    Probe("unmap lent memory", ("U2",), ("map", "unmap"), lent_memory),
    Probe("unmap after shrinking", ("U2", "U3"), ("map", "unmap"), after_shrinking),
    Probe("unmap the unmapped", ("U3",), ("map", "unmap"), unmapped),
    Probe("unmap partly", ("X6",), ("map", "unmap"), partly),
    Probe("unmap not the top", ("U5",), ("map", "unmap"), not_the_top),
    Probe("unmap a large range", ("U5",), ("map", "unmap"), large_hole, stage=3),
]
