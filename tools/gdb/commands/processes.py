"""ps and locks: what each process does and waits for, who holds what, and why nothing moves."""

from __future__ import annotations

from typing import Any, Optional

from tools.gdb.report import Column, Report
from tools.gdb.session import Command, Parser, Session
from tools.guest.audit import party_label
from tools.guest.locks import Lock, cycles, find_locks
from tools.guest.memory import GuestError
from tools.guest.processes import Hart, Process
from tools.guest.stack import Frame, kernel_frames, user_frames
from tools.guest.waits import Waits

USER_MODE_END = 1 << 38  # a pc below is the user's, unless the kernel is linked there


class Ps(Command):
    """ps [PID | NAME] [-b] [--all]

    Processes: pid, parent, state, the hart it runs on, memory, and what it sleeps on
    by symbol; for a lock or a pipe also who holds it. -b adds the backtrace, through
    the kernel and across the trap into the program. --all shows unused slots too.
    """

    name = "ps"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("target", nargs="?", help="pid or name; default all")
        parser.add_argument("-b", "--backtrace", action="store_true", help="with backtraces")
        parser.add_argument("--all", action="store_true", help="unused slots too")

    def run(self, session: Session, args: Any) -> Report:
        report = Report()
        processes = session.processes
        chosen = [session.process(args.target)] if args.target else processes.used
        if args.all and not args.target:
            chosen = processes.slots
        section = report.section(
            "processes",
            Column("pid", "PID", "dec"),
            Column("parent", "PARENT", "dec"),
            Column("state", "STATE"),
            Column("hart", "HART", "dec"),
            Column("size", "SIZE", "dec"),
            Column("name", "NAME"),
            Column("waits", "SLEEPS ON"),
        )
        registers = session.registers() if args.backtrace else {}
        waits = Waits(processes)
        for p in chosen:
            parent = p.parent.pid if p.parent else None
            row = section.add(pid=p.pid, parent=parent, state=p.state, hart=p.hart, size=p.size)
            row.update(name=p.name, slot=p.slot, address=p.address, killed=p.killed)
            row["chan"] = p.chan if p.state == "SLEEPING" else 0
            row["waits"] = waits.of(p) if p.state == "SLEEPING" else ""
            if p.killed:
                row["waits"] = (row["waits"] + " (killed)").strip()
            if args.backtrace:
                _backtrace(session, p, row, registers)
        if not chosen:
            report.note("no process has been made yet")
        return report


def _backtrace(session: Session, p: Process, row: dict[str, Any], registers: Any) -> None:
    mine = registers.get(p.hart) if p.hart is not None else None
    in_user = mine is not None and session.kernel.elf.nearest(mine["pc"]) is None
    frames: list[Frame] = []
    if mine is None or not in_user:
        frames += kernel_frames(session.kernel, p, mine)
    try:
        if p.state != "ZOMBIE" and (p.hart is None or mine is not None):
            programs = session.programs
            frames += user_frames(session.kernel, p, programs, mine if in_user else None)
    except GuestError as e:
        row["lines"] = [str(e)]
    row["frames"] = [vars(f) for f in frames]
    row["lines"] = [_frame(f, p) for f in frames] + row.get("lines", [])
    if p.hart is not None and mine is None:
        row["lines"] = [f"runs on hart {p.hart}: its registers are not in memory"]


def _frame(f: Frame, p: Process) -> str:
    where = f"{f.line[0]}:{f.line[1]}" if f.line else ""
    program = f"{p.name}: " if f.user else ""
    return f"{f.pc:#018x}  {program}{f.function or '?'}" + (f"  {where}" if where else "")


class Locks(Command):
    """locks [--all]

    The locks that are held or waited for: what they are called, who holds them, where
    they were taken (if the kernel notes it), and who waits, harts and processes. A
    deadlock is explained as its cycle. --all lists free locks too.
    """

    name = "locks"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--all", action="store_true", help="free locks too")

    def run(self, session: Session, args: Any) -> Report:
        registers = session.registers()
        locks = find_locks(session.processes, registers)
        report = Report()
        section = report.section(
            "locks",
            Column("expression", "LOCK"),
            Column("name", "NAME"),
            Column("kind", "KIND"),
            Column("holder", "HELD BY"),
            Column("place", "TAKEN IN"),
            Column("waiting", "WAITING"),
        )
        for lock in locks:
            if not (args.all or lock.held or lock.waiters):
                continue
            holder = _holder(lock)
            row = section.add(expression=lock.expression, name=lock.name, kind=lock.kind)
            row.update(address=lock.address, held=lock.held, holder=holder, place=lock.place)
            row["waiting"] = [party_label(w) for w in lock.waiters]
            row["holder_id"] = _id(lock.holder)
            row["waiting_ids"] = [_id(w) for w in lock.waiters]
        found = cycles(locks)
        section.extra = {
            "locks_seen": len(locks),
            "deadlocks": [[[_id(w), lock.expression] for w, lock in cycle] for cycle in found],
        }
        for cycle in found:
            report.note("deadlock: " + explain(cycle))
            report.status = 1
        if not section.rows:
            report.note(f"none of {len(locks)} locks is held")
        if not registers and not any(
            h.record.get("waiting") is not None for h in session.processes.harts
        ):
            report.note(
                "harts that spin for a lock are not known: their registers are not in memory"
            )
        return report


def _holder(lock: Lock) -> Optional[str]:
    if not lock.held:
        return "" if not lock.waiters else "nobody now"
    return party_label(lock.holder) if lock.holder is not None else "nobody known"


def _id(party: Optional[Hart | Process]) -> Optional[str]:
    if party is None:
        return None
    return f"hart {party.number}" if isinstance(party, Hart) else f"pid {party.pid}"


def explain(cycle: list[tuple[Hart | Process, Lock]]) -> str:
    """A cycle as one sentence: each waits for what the next holds."""
    parts = []
    for who, lock in cycle:
        taken = f", taken in {lock.place}" if lock.place else ""
        holder = party_label(lock.holder) if lock.holder is not None else "?"
        parts.append(f"{party_label(who)} waits for {lock.expression}, which {holder} holds{taken}")
    return "; ".join(parts)
