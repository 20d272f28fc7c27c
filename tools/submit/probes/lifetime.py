"""Probes of what becomes of frames when processes fork, exit and run programs."""

from __future__ import annotations

from tools.submit.probes.base import PAGE, Bench, Probe


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
            )


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
        owner = g.fork(1)
        owner.fill(g.arena, 2 * PAGE, 1)
        holder = g.fork(2, parent=owner)
        outcome = bench.attempt(g, lambda: calls.share(owner, holder, g.arena, PAGE))
        if not outcome.accepted:
            bench.undecided("L3", "no mapping could be made")
            return
        page = g.quiet().page(holder.pid, outcome.value)
        end = bench.farewell(g, owner)
        if end.error or page is None:
            bench.undecided("L3", f"the owner does not leave: {end}")
            return
        look = g.quiet()
        now = look.page(holder.pid, outcome.value)
        if now and now.pa == page.pa and (page.pa in look.free):
            bench.find(
                "L3",
                "When the owner of a shared frame exits first, the frame is freed while another "
                "process maps it.",
                [
                    f"pid {owner.pid} has exited",
                    f"pid {holder.pid} maps {now}",
                    "the frame is on the free list",
                ],
            )


PROBES = [
    Probe("own frames", ("X8",), (), own_frames, stage=1),
    Probe("fork of a holder", ("L2",), ("map",), fork_of_holder),
    Probe("owner first", ("L3",), ("map",), owner_first),
]
