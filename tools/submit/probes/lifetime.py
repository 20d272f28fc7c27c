"""Probes of what becomes of frames when processes fork, exit and run programs."""

from __future__ import annotations

from typing import Optional

from tools.submit.probes.base import PAGE, Bench, Outcome, Probe
from tools.submit.session import Actor, Answer, Session
from tools.submit.shape import Calls
from tools.submit.watch import releaser


def own_frames(bench: Bench) -> None:
    """A process without any mapping comes and goes; all its frames come back."""
    with bench.guest() as (g, _):
        counts = []
        for _round in range(3):
            g.main.ask("g")
            g.main.wait()
            counts.append(len(g.quiet().free.frames))
        lost = counts[1] - counts[2]
        if lost > 0 and counts[0] - counts[1] == lost:
            bench.find(
                "X8",
                f"{lost} frames are lost each time a process exits, mapping or not.",
                [f"free frames after each of three forks and exits: {counts}"],
                line=_release_of_own(bench),
            )


def _release_of_own(bench: Bench) -> Optional[tuple[str, int]]:
    """Where the kernel handles a page of a process that leaves."""
    with bench.guest() as (g, _):
        child = g.fork(1)
        child.fill(g.arena, PAGE, 1)
        return _line(g, child, g.arena)


def _line(g: Session, actor: Actor, va: int) -> Optional[tuple[str, int]]:
    frames = releaser(g, actor, va)
    return frames[0].line if frames else None


def held_release(bench: Bench) -> Optional[tuple[str, int]]:
    """Where the kernel handles a shared page of a holder that leaves."""
    with bench.guest() as (g, calls):
        child = g.fork(1)
        at = calls.share(g.main, child, g.arena, PAGE).value
        return _line(g, child, at)


def fork_of_holder(bench: Bench) -> None:
    """A process that holds a mapping forks; its child's own copies must be freed."""
    if bench.found("X8"):
        bench.undecided("L2", "hidden by X8: every process loses frames")
        return
    with bench.guest() as (g, calls):
        child = g.fork(1)
        size = 3 * PAGE
        if not bench.attempt(g, lambda: calls.share(g.main, child, g.arena, size)).accepted:
            bench.undecided("L2", "no mapping could be made")
            return
        counts = []
        for _round in range(3):
            left = bench.attempt(g, lambda: child.ask("g"))
            left = left if left.error else bench.attempt(g, lambda: child.ask("W"))
            if left.error:
                bench.find(
                    "L2", "A fork of a process that holds a mapping ends badly.", [str(left)]
                )
                return
            counts.append(len(g.quiet().free.frames))
        grandchild = child.ask("G").value
        look = g.quiet()
        copies = [
            p for p in look.shared(grandchild) if p.pa not in {q.pa for q in look.shared(child.pid)}
        ]
        lost = counts[1] - counts[2]
        if lost > 0 and counts[0] - counts[1] == lost:
            bench.find(
                "L2",
                f"Each fork of a process that holds a 3-page mapping loses {lost} frames.",
                [
                    f"free frames after each of three forks and exits of its child: {counts}",
                    *(f"a copy of the child's own, yet marked shared: {page}" for page in copies),
                ],
            )


def owner_first(bench: Bench) -> None:
    """The owner of a frame exits while another process maps it."""
    with bench.guest() as (g, calls):
        pair = _owner_and_holder(bench, g, calls)
        if pair is None:
            bench.undecided("L3", "no mapping could be made")
            return
        owner, holder, at = pair
        page = g.quiet().page(holder.pid, at)
        end = bench.farewell(g, owner)
        if end.error or page is None:
            bench.undecided("L3", f"the owner does not leave: {end}")
            return
        look = g.quiet()
        now = look.page(holder.pid, at)
        found = now and now.pa == page.pa and page.pa in look.free
    if found:
        with bench.guest() as (g, calls):
            pair = _owner_and_holder(bench, g, calls)
            line = _line(g, pair[0], g.arena) if pair else None
        bench.find(
            "L3",
            "When the owner of a shared frame exits first, the frame is freed while another "
            "process maps it.",
            [
                f"pid {owner.pid} has exited",
                f"pid {holder.pid} maps {now}",
                "the frame is on the free list",
            ],
            line=line,
        )


def _owner_and_holder(bench: Bench, g: Session, calls: Calls) -> Optional[tuple[Actor, Actor, int]]:
    """A process, a child of it that maps a page of its memory, and where."""
    owner = g.fork(1)
    owner.fill(g.arena, 2 * PAGE, 1)
    holder = g.fork(2, parent=owner)
    outcome = bench.attempt(g, lambda: calls.share(owner, holder, g.arena, PAGE))
    return (owner, holder, outcome.value) if outcome.accepted else None


def coming_and_going(bench: Bench) -> None:
    """Owner and holder come, share a page and go, the holder first; with and without an unmapping."""
    lost = {}
    for undo in (False, True) if bench.shape.unmap_order else (False,):
        with bench.guest() as (g, calls):
            counts = []
            for _round in range(3):
                outcome = _one_round(bench, g, calls, undo)
                if outcome.answer is None or outcome.answer.failed:
                    how = str(outcome) if outcome.error else "the mapping fails"
                    bench.undecided("L4", f"owner and holder don't come and go: {how}")
                    return
                counts.append(len(g.quiet().free.frames))
            lost[undo] = (counts[1] - counts[2], counts)
            if counts[0] - counts[1] != counts[1] - counts[2]:
                lost[undo] = (0, counts)
    frames, counts = max(lost.values())
    if frames <= 0 or bench.found("X8"):
        return
    unmapping = lost[False][0] <= 0
    marked = "" if unmapping else _marked_source(bench)
    known = "unmap_shared_pages" if unmapping else "map_shared_pages" if marked else ""
    bench.find(
        "L4",
        f"{frames} frame{'s are' if frames > 1 else ' is'} lost each time a process shares a page "
        f"with its child{', the child unmaps it' if unmapping else ''} and both exit.",
        [f"free frames after each of three such rounds: {counts}", *([marked] if marked else [])],
        function=known,
        line=None if known else held_release(bench),
    )


def _marked_source(bench: Bench) -> str:
    """What a mapping does to the owner's own entry, if it marks that as shared too: then neither of
    the two frees the frame. Empty if it does not.
    """
    with bench.guest() as (g, calls):
        pair = _owner_and_holder(bench, g, calls)
        page = g.quiet().page(pair[0].pid, g.arena) if pair else None
        if pair is None or page is None or not page.shared:
            return ""
        return f"the owner's own entry carries PTE_S after the mapping: pid {pair[0].pid}: {page}"


def _one_round(bench: Bench, g: Session, calls: Calls, undo: bool) -> Outcome:
    pair = _owner_and_holder(bench, g, calls)
    if pair is None:
        return Outcome(None)
    owner, holder, at = pair

    def go() -> Answer:
        if undo:
            calls.unmap(holder, at, PAGE)
        holder.exit()
        owner.wait()
        owner.exit()
        return g.main.ask("W")

    return bench.attempt(g, go)


def letting_go(bench: Bench) -> None:
    """A holder gives its mapping up by shrinking below it, or by exec: the frame stays the owner's."""
    for how in ("sbrk", "exec"):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, PAGE))
            look = g.quiet()
            page = look.page(g.main.pid, g.arena)
            held = look.page(child.pid, outcome.value) if outcome.accepted else None
            if page is None or held is None or held.pa != page.pa:
                bench.undecided("L1", "no mapping could be made")
                return
            end = _shrink(bench, g, child) if how == "sbrk" else _replace(bench, g, child)
            if end.error:
                bench.undecided("L1", f"the holder's {how} does not come back: {end}")
                continue
            after = g.quiet()
            now = after.page(g.main.pid, g.arena)
            if now and now.pa == page.pa and (page.pa in after.free or after.free.problem):
                bench.find(
                    "L1",
                    f"When a process that only shares a frame {_DOES[how]}, the frame is freed under "
                    "its owner.",
                    [
                        f"pid {child.pid} held {held}",
                        f"then: {how}",
                        f"pid {g.main.pid} still maps {now}",
                        after.free.problem or "the frame is on the free list",
                    ],
                )


_DOES = {"sbrk": "gives the memory up with sbrk", "exec": "execs"}


def _shrink(bench: Bench, g: Session, child: Actor) -> Outcome:
    return bench.attempt(g, lambda: child.call("sbrk", -PAGE))


def _replace(bench: Bench, g: Session, child: Actor) -> Outcome:
    """The holder execs a program that ends at once, and is reaped."""
    path, argv = g.arena + 2 * PAGE, g.arena + 3 * PAGE
    program = next((n for n in ("echo", "ls") if n in bench.lab.build.programs), "")

    def go() -> Answer:
        child.write(path, f"{program}\0".encode())
        child.write(argv, path.to_bytes(8, "little") + bytes(8))
        g.post(child.index, "c " + g.coded("exec", (path, argv)))
        return g.main.ask("W")

    return bench.attempt(g, go) if program else Outcome(None)


PROBES = [
    Probe("own frames", ("X8",), (), own_frames, stage=1),
    Probe("fork of a holder", ("L2",), ("map",), fork_of_holder),
    Probe("owner first", ("L3",), ("map",), owner_first),
    Probe("letting go", ("L1",), ("map",), letting_go),
    Probe("coming and going", ("L4",), ("map",), coming_and_going),
]
