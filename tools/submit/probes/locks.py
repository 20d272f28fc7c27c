"""Probes of locks and of pids that are nobody's."""

from __future__ import annotations

import time

from tools.guest.locks import cycles, find_locks
from tools.submit.look import Look
from tools.submit.probes.base import PAGE, Bench, Outcome, Probe, changes
from tools.submit.session import Session
from tools.submit.shape import Calls

NOBODY = 9999


def strange_pids(bench: Bench) -> None:
    """Pids that are no live process, in each role; locks are counted after each call."""
    order = bench.shape.map_order or ()
    roles = [role for role in ("src", "dst") if role in order]
    if bench.shape.unmap_order and "pid" in bench.shape.unmap_order:
        roles.append("unmap")
    for role in roles:
        for name, pid in (("0", 0), ("negative", -1), ("unknown", NOBODY), ("a zombie", None)):
            with bench.guest() as (g, calls):
                actor = g.main  # the parent of the zombie: related to it, where that matters
                if pid is None:
                    pid = actor.ask("g").value
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
    if outcome.panic:
        bench.find("A1", f"A pid that is no live process ({name}) stops the kernel.", [what])
        return
    held = kept_locks(g)
    if held:
        bench.find(
            "K2",
            "A call that fails keeps a lock: it is still held when everybody is back in user mode.",
            [what, *(f"held: {lock}" for lock in held)],
        )
    elif outcome.error:
        bench.find("A1", f"A pid that is no live process ({name}) stops the kernel.", [what])
    elif outcome.accepted or (outcome.value == 0 and what.startswith("unmap")):
        diff = changes(before, g.quiet(), pid)
        if outcome.accepted:
            bench.find("A1", f"A pid that is no live process ({name}) is accepted.", [what, *diff])


def kept_locks(g: Session) -> list[str]:
    """Spinlocks held in three looks in a row while all agents wait for the host."""
    sets = []
    for _ in range(3):
        look = g.quiet()
        sets.append({lock.expression for lock in look.locks if lock.kind == "spin"})
        g.settle(0.05)
    return sorted(set.intersection(*sets))


def failing_calls(bench: Bench) -> None:
    """After each kind of refusal, no lock may be held."""
    for name in (
        "map of an unmapped address",
        "unmap of an unmapped address",
        "good map and unmap",
    ):
        with bench.guest() as (g, calls):
            child = g.fork(1)
            if name.startswith("map"):
                outcome = bench.attempt(g, lambda: calls.share(g.main, child, 0x8_0000, 64))
            elif name.startswith("unmap"):
                outcome = bench.attempt(g, lambda: calls.unmap(child, 0x8_0000, 64))
            else:
                outcome = bench.attempt(g, lambda: calls.share(g.main, child, g.arena, PAGE))
                if outcome.accepted and bench.shape.unmap_order:
                    at = outcome.value
                    outcome = bench.attempt(g, lambda: calls.unmap(child, at, PAGE))
            text = f"{name}: {outcome}"
            if outcome.lock_panic:
                bench.find("K2", f"A {name} ends in a panic about locks.", [text])
            elif outcome.answer is not None and (held := kept_locks(g)):
                bench.find("K2", f"A {name} keeps a lock.", [text, *(f"held: {k}" for k in held)])


def strangers(bench: Bench) -> None:
    """A process maps the memory of one that is neither its ancestor nor its descendant."""
    with bench.guest() as (g, calls):
        one, other = g.fork(1), g.fork(2)
        outcome = bench.attempt(g, lambda: calls.share(one, other, g.arena, 64))
        if outcome.accepted:
            bench.find(
                "A2",
                "Any process may map any other's memory: nothing asks how the two are related.",
                [f"pid {other.pid} maps memory of its sibling pid {one.pid}: {outcome}"],
            )


def same_process(bench: Bench) -> None:
    """Source and destination are one process."""
    if "src" not in (bench.shape.map_order or ()):
        return
    with bench.guest() as (g, calls):
        child = g.fork(1)
        outcome = bench.attempt(g, lambda: calls.map(child, child, g.arena, 64, child))
        if outcome.error:
            bench.find(
                "K3",
                "Mapping from a process to itself stops the kernel.",
                [f"map from pid {child.pid} to pid {child.pid}: {outcome}"],
            )


ROUNDS = 2000


def crossing(bench: Bench) -> None:
    """Two processes map from each other again and again on three harts."""
    order, undo = bench.shape.map_order or (), bench.shape.unmap_order
    if not {"src", "dst"} <= set(order) or undo is None or bench.found("M1", "U1", "K2"):
        return
    with bench.lab.guest(cpus=3, icount=False) as g:
        calls = Calls(g, bench.shape)
        child = g.fork(1)
        for actor, src, dst in ((child, g.main, child), (g.main, child, g.main)):
            arguments = calls.map_arguments(order, src, dst, g.arena, PAGE)
            actor.ask("s 0 " + g.coded("map_shared_pages", tuple(arguments)))
            values: dict[str, int | str] = {"pid": dst.pid, "va": "R", "size": PAGE, "pointer": 0}
            actor.ask("s 1 " + g.coded("unmap_shared_pages", tuple(values[n] for n in undo)))
        g.post(1, f"l {ROUNDS:x} 2 0")
        g.post(0, f"l {ROUNDS:x} 2 0")
        stuck = _deadlock(g)
        if stuck:
            bench.find(
                "K3",
                "Two processes that map from each other at the same time lock each other out for ever.",
                stuck,
            )


def _deadlock(g: Session) -> list[str]:
    """The cycle of locks two harts are in; empty if both loops come to their end."""
    begun = time.monotonic()
    last: list[tuple[str, ...]] = []
    while g.machine.console.count(b" $") and time.monotonic() - begun < 60:
        if g.machine.panic is not None:
            return []
        g.machine.pause()
        look = Look(g.kernel)
        registers = dict(enumerate(g.machine.registers()))
        found = cycles(find_locks(look.processes, registers))
        g.machine.run()
        now = tuple(
            f"{'hart ' + str(getattr(who, 'number')) if hasattr(who, 'number') else who} waits for {lock.expression}"
            for cycle in found
            for who, lock in cycle
        )
        last = last + [now] if now else []
        if len(last) >= 4 and len(set(last)) == 1:
            return list(now)
        done = g.machine.console.count(f"@{g.nonce} 0 ".encode())
        if (
            done
            and not g.machine.pump(0.3)
            and all(
                p.state not in ("RUNNING", "RUNNABLE") or p.pid == 2 for p in look.processes.used
            )
        ):
            return []
        g.machine.pump(0.1)
    return []


PROBES = [
    Probe("strange pids", ("A1", "K2"), ("map",), strange_pids),
    Probe("locks after failures", ("K2",), ("map",), failing_calls),
    Probe("strangers", ("A2",), ("map",), strangers),
    Probe("same process", ("K3",), ("map",), same_process),
    Probe("crossing", ("K3",), ("map", "unmap"), crossing, stage=3),
]
