"""Probes of map_shared_pages: what a good call does, and what bad calls must not do."""

from __future__ import annotations

from tools.guest import read_table
from tools.guest.sv39 import U
from tools.submit.look import Look, Page
from tools.submit.orders import caller
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
from tools.submit.probes.lifetime import held_release
from tools.submit.session import Actor, Session

GUARD = "the guard page below the stack, not user-accessible"
GOOD = (  # offset in the first page, bytes
    (0, 64),
    (0, PAGE),
    (0, 2 * PAGE),
    (0x123, 64),
    (0xFF0, 32),
    (0x10, PAGE),
    (0xFFF, 1),
    (0x20, 3 * PAGE),
)


def touched(offset: int, size: int) -> int:
    """Pages a range lies in."""
    return (offset + size + PAGE - 1) // PAGE


def good_ranges(bench: Bench) -> None:
    """Every good range, each mapped into a fresh child."""
    for offset, size in GOOD:
        with bench.guest() as (g, calls):
            child = g.fork(1)
            for page in (
                2,
                0,
                3,
                1,
            ):  # after fork and in no order: their frames do not lie in a row
                g.main.fill(g.arena + page * PAGE, PAGE, 1)
            child.fill(g.arena, 4 * PAGE, 9)
            before = g.quiet()
            va = g.arena + offset
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, va, size))
            what = f"map {size} bytes at offset {offset:#x} of a page of pid {g.main.pid} into pid {child.pid}"
            if not outcome.accepted:
                if outcome.lock_panic:
                    bench.find(
                        "K2", "A good mapping ends in a panic about locks.", [f"{what}: {outcome}"]
                    )
                elif offset or size > PAGE:
                    bench.find("M2", "A good range is not mapped.", [f"{what}: {outcome}"])
                continue
            after = g.quiet()
            _judge_good(bench, before, after, g.main, child, outcome.value, offset, size, what)
            _leave(bench, g, child, after, what)


def _judge_good(
    bench: Bench,
    before: Look,
    after: Look,
    src: Actor,
    dst: Actor,
    value: int,
    offset: int,
    size: int,
    what: str,
) -> None:
    new = fresh(before, after, dst.pid)
    pages = [after.pages[dst.pid][va] for va in new]
    base = src.session.arena
    sources = [after.page(src.pid, base + i * PAGE) for i in range(touched(offset, size))]
    evidence = [f"{what}: returned {value:#x}", *changes(before, after, dst.pid)]
    if len(pages) != len(sources):
        bench.find(
            "M2",
            f"A range of {size} bytes at offset {offset:#x} lies in {len(sources)} "
            f"page{'s' if len(sources) > 1 else ''}, but {len(pages)} "
            f"{'is' if len(pages) == 1 else 'are'} mapped.",
            evidence,
        )
    _judge_frames(bench, pages, sources, value, offset, evidence)
    _judge_flags(bench, pages, sources, evidence)
    if len(pages) == len(sources):
        end = max((p.va for p in pages), default=0) + PAGE
        if rounded(after.size(dst.pid)) != end:
            bench.find(
                "M1",
                f"After a mapping that ends at {end:#x}, the destination's sz is "
                f"{after.size(dst.pid):#x} (it was {before.size(dst.pid):#x}).",
                evidence,
            )


def _judge_frames(
    bench: Bench,
    pages: list[Page],
    sources: list[Page | None],
    value: int,
    offset: int,
    evidence: list[str],
) -> None:
    if not pages or not sources or sources[0] is None:
        return
    first = next((p for p in pages if p.pa == sources[0].pa), None)
    if first is not None and value != first.va + offset:
        bench.find(
            "M3",
            f"The source's byte at offset {offset:#x} is at {first.va + offset:#x} in the "
            f"destination, but {value:#x} is returned.",
            evidence,
        )
    for i, (page, source) in enumerate(zip(pages, sources)):
        if i and first is pages[0] and source and page.pa != source.pa:
            bench.find(
                "X2",
                f"Page {i + 1} of the mapping is frame {page.pa:#x}; the source's is {source.pa:#x}.",
                [*evidence, f"source: {sources[0]}", f"source: {source}"],
            )


def _judge_flags(
    bench: Bench, pages: list[Page], sources: list[Page | None], evidence: list[str]
) -> None:
    for page, source in zip(pages, sources):
        if source is None or page.pa != source.pa:
            continue
        if not page.shared:
            bench.find(
                "M6",
                "The destination's entry lacks PTE_S, bit 8 or 9.",
                [*evidence, f"entry: {page}"],
            )
        elif page.permissions != source.permissions:
            bench.find(
                "M6",
                "The destination's entry does not have the source's permissions.",
                [*evidence, f"source: {source}", f"destination: {page}"],
            )


def _leave(bench: Bench, g: Session, child: Actor, mapped: Look, what: str) -> None:
    """The holder leaves without unmapping: the source must keep its frames."""
    source = mapped.page(g.main.pid, g.arena)
    outcome = bench.farewell(g, child)
    if outcome.panic:
        known = bench.found("M1", "M2", "X8", "M6")
        id = "M1" if "leaf" in outcome.panic or known else "L1"
        bench.find(
            id,
            "A process that holds a mapping cannot leave: the kernel panics when it is reaped.",
            [what, f"then it exits: {outcome}"],
        )
        bench.undecided("L1", f"a process that holds a mapping cannot leave: {outcome}")
        return
    after = g.quiet()
    bad = after.free.problem or (
        f"frame {source.pa:#x} is mapped by pid {g.main.pid} and on the free list"
        if source and source.pa in after.free
        else ""
    )
    if bad and not bench.found("L1", "X2"):  # of frames taken wrongly, any may be freed
        line = held_release(bench)
        bench.find(
            "L1",
            "When a process that only shares a frame exits, the frame is freed under its owner.",
            [what, f"pid {child.pid} exits without unmapping", f"free list: {bad}"],
            line=line,
        )


def code_page(bench: Bench) -> None:
    """A page that its owner may not write to: what the holder may do with it is what the owner may."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.code, 64))
        if not outcome.accepted:
            return  # who shares data only has done the assignment
        after = g.quiet()
        source, page = after.page(g.main.pid, g.code), after.page(child.pid, outcome.value)
        what = f"map 64 bytes of a page of code of pid {g.main.pid} into pid {child.pid}: {outcome}"
        evidence = [what, *changes(before, after, child.pid)]
        if source and page and page.pa == source.pa:
            _judge_flags(bench, [page], [source], evidence)


def bad_sources(bench: Bench) -> None:
    """Ranges that must be refused with nothing changed."""
    with bench.guest() as (g, _):
        look = g.quiet()
        top = rounded(look.size(g.main.pid))
        guard = guard_page(g, g.main.pid, top)
    cases = [
        ("an address just above the source's sz", top, 64),
        ("an address 1 GiB up, where no table page is", 0x4000_0000, 64),
        ("the trapframe's page, which is the kernel's", MAXVA - 2 * PAGE, 64),
        ("an address at MAXVA", MAXVA, 64),
        ("an address above MAXVA", MAXVA + 0x4000_1000, PAGE),
        ("a range that wraps around the end of the address space", (1 << 64) - PAGE, 2 * PAGE),
        ("a size that wraps around", g.arena + PAGE, (1 << 64) - PAGE),
        ("a size that wraps around to its own page", g.arena + PAGE + 0x800, (1 << 64) - 0x100),
        ("a range whose end wraps around when rounded up", g.arena, (1 << 64) - 1 - g.arena),
        ("a size that wraps around to its page's start", g.arena + PAGE + 0x800, (1 << 64) - 0x800),
    ]
    if guard:
        cases.insert(0, (GUARD, guard, 64))
    for what, va, size in cases:
        with bench.guest() as (g, calls):
            child = g.fork(1)
            before = g.quiet()
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, va, size))
            call = f"map {what}: va {va:#x}, size {size:#x}"
            after = None if outcome.panic else g.quiet()
            _judge_bad(bench, outcome, before, after, child.pid, call, what)


def _judge_bad(
    bench: Bench,
    outcome: Outcome,
    before: Look,
    after: Look | None,
    pid: int,
    call: str,
    what: str,
) -> None:
    diff = changes(before, after, pid) if after else []
    evidence = [f"{call}: {outcome}", *diff]
    frame = culprit(outcome)
    if outcome.lock_panic:
        bench.find("K2", f"Refusing {what} ends in a panic about locks.", evidence)
    elif outcome.panic == "walk" or (outcome.error and "wrap" in what):
        bench.find("M7", f"Mapping {what} stops the kernel.", evidence, line=_in_map(frame))
    elif outcome.error:
        bench.find("M4", f"Mapping {what} stops the kernel.", evidence, line=_in_map(frame))
    elif outcome.accepted and what != GUARD and not any("new in" in line for line in diff):
        bench.find("M7", f"Mapping {what} reports success, but nothing is mapped.", evidence)
    elif outcome.accepted:
        bench.find("M7" if "wrap" in what else "M4", f"Mapping {what} succeeds.", evidence)
    elif diff:
        bench.find("M5", f"Refusing {what} leaves something changed.", evidence)


def _in_map(frame: object) -> tuple[str, int] | None:
    function = getattr(frame, "function", None)
    line: tuple[str, int] | None = getattr(frame, "line", None)
    return line if function and "map_shared" in function else None


def guard_page(g: Session, pid: int, top: int) -> int | None:
    """A page below `top` that is not the program's: the guard below the stack, be it there but not
    for users, or not there at all.
    """
    process = g.glance().process(pid)
    if process is None or process.root is None:
        return None
    leaves = {k.va: k.entry for k in read_table(g.kernel.memory, process.root, "user").leaves()}
    return next(
        (va for va in range(PAGE, top, PAGE) if not leaves.get(va, 0) & U and va + PAGE in leaves),
        None,
    )


def half_way(bench: Bench) -> None:
    """A range whose first pages are good and whose last is not: all or nothing. What follows the source may have
    an empty entry, or not even a page of the table to have one in.
    """
    for top in (0, REGION):
        _half_way(bench, top)


def _half_way(bench: Bench, top: int) -> None:
    with bench.guest() as (g, calls):
        child = g.fork(1)
        size = g.main.call("sbrk", 0).value
        top = top or rounded(size) + 2 * PAGE
        if g.main.call("sbrk", top - size).value != size:
            return
        heap = top - 2 * PAGE
        g.main.fill(heap, 2 * PAGE, 1)
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.share(g.main, child, heap, 3 * PAGE))
        call = f"map 3 pages of which the third is above the source's sz: {outcome}"
        if outcome.error:
            undone = "unmap" in outcome.panic or "aligned" in outcome.panic
            id = "K2" if outcome.lock_panic else "M5" if undone else "M4"
            bench.find(id, "A mapping that must fail at its last page stops the kernel.", [call])
            _left_at_panic(bench, g, outcome, before, child.pid, call)
            return
        after = g.quiet()
        diff = changes(before, after, child.pid)
        freed = [p for _, p in after.free_but_mapped()]
        if outcome.accepted:
            id = "M7" if len(fresh(before, after, child.pid)) < 3 else "M4"
            bench.find(id, "A range that reaches above the source's sz is accepted.", [call, *diff])
        elif diff or freed or after.free.problem:
            lines = [call, *diff, *(f"free, but mapped: {p}" for p in freed)]
            end = bench.farewell(g, child)
            if end.error:
                lines.append(f"when the process is reaped: {end}")
            bench.find(
                "M5",
                "A mapping that fails at its third page leaves the destination changed.",
                lines + ([after.free.problem] if after.free.problem else []),
            )


def _left_at_panic(
    bench: Bench, g: Session, outcome: Outcome, before: Look, pid: int, call: str
) -> None:
    """What a mapping has left behind that was over when the kernel stopped: at a lock it kept, say."""
    over = not any("map_shared_pages" in (f.function or "") for f in outcome.frames)
    diff = changes(before, g.look(), pid) if outcome.panic and over else []
    if any("new in" in line for line in diff):
        text = "A mapping that fails at its third page leaves the destination changed."
        bench.find("M5", text, [call, *diff])
    else:
        bench.undecided("M5", call)


def over_a_guard(bench: Bench) -> None:
    """A range whose second page is below the source's sz, yet not the source's to share."""
    with bench.guest() as (g, calls):
        look = g.quiet()
        guard = guard_page(g, g.main.pid, rounded(look.size(g.main.pid)))
        if not guard or look.page(g.main.pid, guard - PAGE) is None:
            return
        child, at = g.fork(1), guard - PAGE
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.share(g.main, child, at, 2 * PAGE))
        call = f"map 2 pages of which the second is {GUARD}: {outcome}"
        if not outcome.refused:
            return  # what "bad sources" tells of the guard page itself
        after = g.quiet()
        diff = changes(before, after, child.pid)
        if diff or after.free.problem:
            end = bench.farewell(g, child)
            lines = [call, *diff, *([after.free.problem] if after.free.problem else [])]
            lines += [f"when the process is reaped: {end}"] if end.error else []
            text = "A mapping that fails at its second page leaves the destination changed."
            bench.find("M5", text, lines)


FIT = 2  # pages of a mapping that find their table page there


def no_memory(bench: Bench) -> None:
    """The destination needs another table page in the middle of the mapping, and no frame is free."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        heap = rounded(g.quiet().size(child.pid))
        child.call("sbrk", REGION - FIT * PAGE - heap)
        before = g.quiet()
        if before.size(child.pid) != REGION - FIT * PAGE or not _forget_free(g):
            return
        outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, 2 * FIT * PAGE))
        call = f"map {2 * FIT} pages, the third beyond a table page, with no frame free: {outcome}"
        lines = [call, *changes(before, g.look(), child.pid)]
        in_map = any("map_shared_pages" in (f.function or "") for f in outcome.frames)
        if outcome.panic and in_map and not outcome.lock_panic:
            bench.find("M5", "A mapping stops the kernel when memory runs out half way.", lines)
        elif outcome.answer is not None and 1 < len(lines) and not outcome.accepted:
            text = "A mapping that runs out of memory half way leaves the destination changed."
            bench.find("M5", text, lines)


def _forget_free(g: Session) -> bool:
    """Makes the kernel believe that no frame is free; False where its list is of another kind."""
    record = g.kernel.record("kmem")
    head = record.type.find("freelist") if record else None
    if record is None or head is None or head.type.kind != "pointer":
        return False
    with g.paused():
        g.machine.memory.write(record.address + head.offset - g.kernel.direct, bytes(8))
    return True


def no_answer(bench: Bench) -> None:
    """The address can't be stored where the caller wants it: then nothing may be mapped."""
    order = bench.shape.map_order or ()
    if "pointer" not in order:
        return
    with bench.guest() as (g, calls):
        child = g.fork(1)
        by = {"src": g.main, "dst": child}[caller(order)]
        before = g.quiet()
        calls.pointer = MAXVA // 2
        arguments = calls.map_arguments(order, g.main, child, g.arena, 64)
        outcome = bench.attempt(g, lambda: by.call("map_shared_pages", *arguments))
        call = f"map 64 bytes, with {calls.pointer:#x} to store the result at: {outcome}"
        diff = changes(before, g.quiet(), child.pid) if outcome.answer else []
        refused = outcome.refused and not (bench.shape.stored and outcome.value == 0)
        if refused and diff:
            text = (
                "A mapping whose result can't be stored fails, and leaves the destination changed."
            )
            bench.find("M5", text, [call, *diff])


LONG = 32  # pages, more than a table of them may hold


def long_range(bench: Bench) -> None:
    """A good range, longer than any other here. Who refuses it has a bound, but nothing may be broken then."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        heap = rounded(g.main.call("sbrk", LONG * PAGE + PAGE).value)
        g.main.fill(heap, LONG * PAGE, 1)
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.share(g.main, child, heap, LONG * PAGE))
        call = f"map {LONG} pages: {outcome}"
        diff = changes(before, g.quiet(), child.pid) if outcome.answer else []
        if outcome.lock_panic:
            text = "A mapping of many pages ends in a panic about locks."
            at = next((f.line for f in outcome.frames if _in_map(f)), None)
            bench.find("K2", text, [call], line=at)
        elif outcome.error:
            bench.find("M2", "A mapping of many pages stops the kernel.", [call])
        elif outcome.refused and diff:
            bench.find("M5", "Refusing many pages leaves the destination changed.", [call, *diff])


MANY = 40  # mappings, more than a table of them may hold


def too_many(bench: Bench) -> None:
    """One mapping after the other, until one is refused."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        look = g.quiet()
        for count in range(MANY):
            before = look
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, 64))
            if outcome.answer is None:
                return  # what fewer mappings tell
            look = g.quiet()
            diff = changes(before, look, child.pid)
            if not outcome.accepted:
                if diff:
                    text = "A mapping beyond the number that a process may have leaves it changed."
                    call = f"map 64 bytes once more, after {count} times: {outcome}"
                    bench.find("M5", text, [call, *diff])
                return


def size_zero(bench: Bench) -> None:
    """Size 0 maps nothing, so it must be refused."""
    for offset in (0, 0x10):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            before = g.quiet()
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena + offset, 0))
            call = f"map 0 bytes at offset {offset:#x}: {outcome}"
            if outcome.panic and not outcome.lock_panic:
                bench.find("M8", "A mapping of 0 bytes stops the kernel.", [call])
            elif outcome.accepted:
                diff = changes(before, g.quiet(), child.pid)
                bench.find(
                    "M8",
                    "A mapping of 0 bytes reports success.",
                    [call, *(diff or ["nothing was mapped"])],
                )


def odd_size(bench: Bench) -> None:
    """A destination whose sz is not a multiple of a page; then another mapping, then sbrk."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        child.call("sbrk", 10)
        before = g.quiet()
        steps = [f"sz of the destination is {before.size(child.pid):#x}, not a multiple of a page"]
        held: dict[int, int] = {}
        for i in (0, 1):
            va = g.arena + i * PAGE
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, va + 8, 16))
            steps.append(f"map 16 bytes at offset 8: {outcome}")
            after = g.quiet()
            if i and outcome.refused:
                break  # one mapping at a time is all that some trees allow
            source = after.page(g.main.pid, va)
            page = after.page(child.pid, outcome.value) if outcome.accepted else None
            new = fresh(before, after, child.pid)
            there = page and source and page.pa == source.pa and page.va in new
            if not page or not there or outcome.value % PAGE != 8 and not bench.found("M3"):
                if not bench.found("M1"):
                    bench.find(
                        "X3",
                        "With such a sz, a mapping goes wrong.",
                        steps + changes(before, after, child.pid),
                    )
                return
            held[page.va] = page.pa
        mapped = fresh(before, after, child.pid)
        grown = bench.attempt(g, lambda: child.call("sbrk", PAGE))
        steps.append(f"sbrk({PAGE}): {grown}")
        after = g.look()
        lost = [
            va for va, pa in held.items() if (p := after.page(child.pid, va)) is None or p.pa != pa
        ]
        inside = grown.answer is not None and grown.value & -PAGE in mapped
        if (grown.error or lost or inside) and not bench.found("M1"):
            bench.find("X3", "With such a sz, memory from sbrk collides with the mapping.", steps)


PROBES = [
    Probe("good ranges", ("M1", "M2", "M3", "M6", "X2", "L1"), ("map",), good_ranges, stage=1),
    Probe("a page of code", ("M6",), ("map",), code_page),
    Probe("bad sources", ("M4", "M7"), ("map",), bad_sources),
    Probe("half way", ("M5",), ("map",), half_way),
    Probe("over a guard page", ("M5",), ("map",), over_a_guard),
    Probe("no memory half way", ("M5",), ("map",), no_memory),
    Probe("no place for the result", ("M5",), ("map",), no_answer),
    Probe("a long range", ("M2", "M5", "K2"), ("map",), long_range),
    Probe("too many mappings", ("M5",), ("map",), too_many),
    Probe("size zero", ("M8",), ("map",), size_zero),
    Probe("odd size", ("X3",), ("map",), odd_size),
]
