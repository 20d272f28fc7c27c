"""Probes of locks and of pids that are nobody's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from tools.guest import Process
from tools.guest.stack import Frame
from tools.submit.kept import Held, locking
from tools.submit.look import Look
from tools.submit.orders import caller, from_parent
from tools.submit.probes.base import (
    PAGE,
    Bench,
    Outcome,
    Probe,
    chain_text,
    changes,
    fresh,
    locker,
    one_mapping,
)
from tools.submit.session import Actor, Session
from tools.submit.shape import Calls, Shape

NOBODY = 9999
ABOVE = 0x8_0000  # the heap, in the same table page
MUCH = 0x7000_0000  # bytes, more than the guest's memory
# Pids that a slot of the table has, though no live process.
SLOTS = ("0", "a zombie", "a zombie that was killed")
STRANGE = ("0", "negative", "unknown", *SLOTS[1:])


def _strange(actor: Actor, name: str) -> Optional[int]:
    """A pid that is no live process; a zombie is the actor's child. None if this kernel has no such."""
    if name == "a zombie":
        return actor.ask("g").value
    if name.startswith("a zombie"):
        if "kill" not in actor.session.numbers:
            return None
        pid = actor.ask("G").value
        actor.call("kill", pid)
        gone = actor.session.until(lambda look: look.state(pid) == "ZOMBIE", 2.0)
        return pid if gone else None
    return {"0": 0, "negative": -1, "unknown": NOBODY}[name]


def strange_pids(bench: Bench) -> None:
    """Pids that are no live process, in each role; locks are counted after each call."""
    order = bench.shape.map_order or ()
    roles = [role for role in ("src", "dst") if role in order]
    if bench.shape.unmap_order and "pid" in bench.shape.unmap_order:
        roles.append("unmap")
    for role in roles:
        for name in STRANGE:
            with bench.guest() as (g, calls):
                actor = g.main  # the parent of the zombie: related to it, where that matters
                pid = _strange(actor, name)
                if pid is None:
                    continue
                before = g.quiet()
                va = g.arena

                def call(pid: int = pid or 0) -> Outcome:
                    if role == "unmap":
                        return bench.attempt(g, lambda: calls.unmap(actor, va, PAGE, pid))
                    src, dst = (pid, actor.pid) if role == "src" else (actor.pid, pid)
                    return bench.attempt(g, lambda: calls.map(src, dst, va, 64, actor))

                outcome = call()
                kind = "unmap of" if role == "unmap" else f"map with {role}"
                what = f"{kind} pid {pid} ({name}): {outcome}"
                _judge_pid(bench, g, outcome, before, actor.pid, what, name)


def _judge_pid(
    bench: Bench, g: Session, outcome: Outcome, before: Look, pid: int, what: str, name: str
) -> None:
    if outcome.lock_panic:
        bench.find("K2", "A call with a pid that is nobody's ends in a panic about locks.", [what])
        return
    held = [] if outcome.panic else kept_locks(g)
    finder = "find_proc" if name in SLOTS else ""  # else who doesn't ask whether there is one
    if held:
        bench.find(
            "K2",
            "A call that fails keeps a lock: it is still held when everybody is back in user mode.",
            [what, *(f"held: {lock}" for lock in held)],
        )
    elif outcome.error:
        sentence = f"A pid that is no live process ({name}) stops the kernel."
        bench.find("A1", sentence, [what], function=finder)
    elif outcome.accepted:
        diff = changes(before, g.quiet(), pid)
        sentence = f"A pid that is no live process ({name}) is accepted."
        bench.find("A1", sentence, [what, *diff], function=finder)


def kept_locks(g: Session) -> list[str]:
    """Spinlocks held in three looks in a row while all agents wait for the host."""
    sets = []
    for _ in range(3):
        g.quiet()
        look = g.look(locks=True)
        sets.append({lock.expression for lock in look.locks if lock.kind == "spin"})
        g.settle(0.05)
    return sorted(set.intersection(*sets))


def failing_calls(bench: Bench) -> None:
    """After each kind of refusal, no lock may be held."""
    for name in (
        "map of an unmapped address",
        "map of 0 bytes",
        "unmap of an unmapped address",
        "good map and unmap",
        "sbrk of more than there is",
    ):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            if name.startswith("map"):
                va, size = (g.arena, 0) if "0 bytes" in name else (ABOVE, 64)
                outcome = bench.attempt(g, lambda: calls.share(g.main, child, va, size))
            elif name.startswith("unmap"):
                outcome = bench.attempt(g, lambda: calls.unmap(child, ABOVE, 64))
            elif name.startswith("sbrk"):
                outcome = bench.attempt(g, lambda: child.call("sbrk", MUCH))
            else:
                outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, PAGE))
                if outcome.accepted and bench.shape.unmap_order:
                    at = outcome.value
                    outcome = bench.attempt(g, lambda: calls.unmap(child, at, PAGE))
            text = f"{name}: {outcome}"
            place = bench.lab.numbers.function("sbrk") if name.startswith("sbrk") else ""
            if outcome.lock_panic:
                bench.find("K2", f"A {name} ends in a panic about locks.", [text], place)
            elif outcome.answer is not None and (held := kept_locks(g)):
                lines = [text, *(f"held: {k}" for k in held)]
                bench.find("K2", f"A {name} keeps a lock.", lines, place)


def strangers(bench: Bench) -> None:
    """What a process may do with one that is neither its ancestor nor its descendant. That it may map the other's
    memory into its own is no more than a note.
    """
    order = bench.shape.map_order or ()
    if "dst" in order:
        _into_a_stranger(bench)
    elif "src" in order:
        with bench.guest() as (g, calls):
            one, other = g.fork(1), g.fork(2)
            before = g.quiet()
            outcome = bench.attempt(g, lambda: calls.share(one, other, g.arena, 64))
            if outcome.accepted and fresh(before, g.quiet(), other.pid):
                bench.report.notes.append(
                    "any process may map the memory of any other into its own"
                )
    if "pid" in (bench.shape.unmap_order or ()):
        _unmap_of_a_stranger(bench)


def _into_a_stranger(bench: Bench) -> None:
    with bench.guest() as (g, calls):
        one, other = g.fork(1), g.fork(2)
        before = g.quiet()
        outcome = bench.attempt(g, lambda: calls.map(one, other, g.arena, 64, one))
        after = g.quiet()
        if outcome.accepted and fresh(before, after, other.pid):
            text = (
                "Any process may map into any other's memory: nothing asks how the two are related."
            )
            what = (
                f"pid {one.pid} maps a page of its own into its sibling pid {other.pid}: {outcome}"
            )
            bench.find("A2", text, [what, *changes(before, after, other.pid)])


def _unmap_of_a_stranger(bench: Bench) -> None:
    with bench.guest() as (g, calls):
        one, other = g.fork(1), g.fork(2)
        mapped = bench.attempt(g, lambda: calls.share(g.main, one, g.arena, 64))
        at = mapped.value & -PAGE
        before = g.quiet()
        if not mapped.accepted or not before.page(one.pid, at):
            return
        outcome = bench.attempt(g, lambda: calls.unmap(other, at, PAGE, one.pid))
        after = g.quiet()
        if outcome.answer and not after.page(one.pid, at):
            text = "Any process may take a mapping away from any other: nothing asks how they are related."
            what = f"pid {other.pid} unmaps a page of its sibling pid {one.pid}: {outcome}"
            place = bench.lab.numbers.function("unmap_shared_pages")
            bench.find("A2", text, [what, *changes(before, after, one.pid)], place)


def same_process(bench: Bench) -> None:
    """Source and destination are one process."""
    if from_parent(bench.shape.map_order or ()):
        return
    with bench.guest() as (g, calls):
        child = g.fork(1)
        outcome = bench.attempt(g, lambda: calls.map(child, child, g.arena, 64, child))
        what = f"map from pid {child.pid} to pid {child.pid}: {outcome}"
        call = g.numbers.function("map_shared_pages")
        inside = any(f.function == call for f in outcome.frames)
        if outcome.lock_panic and not inside:
            text = "A mapping from a process to itself keeps a lock: the kernel stops where that is taken next."
            bench.find("K2", text, [what])
        elif outcome.error:
            bench.find(
                "K3",
                "Mapping from a process to itself stops the kernel.",
                [what],
                line=locker(outcome.frames) if outcome.lock_panic else None,
            )


@dataclass
class Nesting:
    """A lock taken while another is held. outer: all that were held; frames: where it was taken."""

    held: int
    taken: int
    outer: frozenset[int]
    frames: list[Frame]


def crossing(bench: Bench) -> None:
    """Two processes map from each other, or into: is it the same order in which their locks are taken?"""
    order = bench.shape.map_order or ()
    call = bench.lab.numbers.function("map_shared_pages")
    if from_parent(order):
        return  # nobody maps from his child
    if not {call, "acquire", "release"} <= set(bench.lab.elf.symbols):
        bench.undecided("K3", "this tree's calls cannot be made to cross")
        return
    with bench.guest() as (g, _):
        child = g.fork(1)
        look = g.quiet()
        there, back = look.process(g.main.pid), look.process(child.pid)
        if there is None or back is None:
            return
        one, answered = _nestings(g, order, g.main, child)
        other, too = _nestings(g, order, child, g.main) if answered else ([], False)
        if not (answered and too):
            bench.undecided("K3", "the calls that cross do not come back")
            return
        for a in one:
            for b in other:
                crossed = (a.held, a.taken) == (b.taken, b.held) and not a.outer & b.outer - {
                    a.held,
                    b.held,
                }
                if crossed and _owners(a, there, back) == _owners(b, back, there):
                    bench.find(
                        "K3",
                        "Two processes that share memory with each other at the same time can lock each "
                        "other out for ever: they take their locks in opposite order.",
                        [
                            _said(a, g.main, child, there, back),
                            _said(b, child, g.main, back, there),
                        ],
                        line=locker(a.frames),
                    )
                    return


def _nestings(
    g: Session, order: tuple[str, ...], src: Actor, dst: Actor
) -> tuple[list[Nesting], bool]:
    """The locks taken under others while a page of `src` is mapped into `dst`, and whether that came back."""
    arguments = Calls(g, Shape(order)).map_arguments(order, src, dst, g.arena, PAGE)
    found: list[Nesting] = []

    def took(lock: int, held: Held) -> None:
        outer = [k for k in held if k != lock]
        found.extend(Nesting(k, lock, frozenset(outer), held[lock]) for k in outer)

    command = "c " + g.coded("map_shared_pages", tuple(arguments))
    call = g.numbers.function("map_shared_pages")
    by = {"src": src, "dst": dst}[caller(order)].index
    _, back = locking(g, call, lambda: g.post(by, command), lambda: g.answered(by), took)
    return found, back


def _owners(n: Nesting, first: Process, second: Process) -> bool:
    """Is it a lock in the slot of `first`, and then one in that of `second`?"""
    return all(
        p.address <= lock < p.address + p.record.type.size
        for lock, p in ((n.held, first), (n.taken, second))
    )


def _said(n: Nesting, src: Actor, dst: Actor, first: Process, second: Process) -> str:
    names = [
        f"proc[{p.slot}]+{lock - p.address:#x} (pid {p.pid})"
        for lock, p in ((n.held, first), (n.taken, second))
    ]
    return (
        f"pages of pid {src.pid} for pid {dst.pid}: the call holds the lock at {names[0]} and takes that at "
        f"{names[1]}: {chain_text(n.frames)}"
    )


PROBES = [
    Probe("strange pids", ("A1", "K2"), ("map",), strange_pids),
    Probe("locks after failures", ("K2",), ("map",), failing_calls),
    Probe("strangers", ("A2",), ("map",), strangers),
    Probe("same process", ("K3", "K2"), ("map",), same_process),
    Probe("crossing", ("K3",), ("map",), crossing, observable=False, scene=one_mapping),
]
