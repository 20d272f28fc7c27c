"""shmtrace: the trace rings, decoded with the kernel's own table of events."""

from __future__ import annotations

from typing import Any

from tools.gdb.commands.save import save
from tools.gdb.report import Column, Report
from tools.gdb.session import Command, Parser, Session
from tools.guest.events import Event, EventTable
from tools.guest.memory import GuestError
from tools.guest.ring import rings


class ShmTrace(Command):
    """shmtrace [--last N] [--event NAME] [--pid PID] [--follow] [--save FILE]

    The last events of all harts in order of time, decoded as the program of that name
    in the guest does; also after a panic. --follow shows only what came since the last
    'shmtrace --follow', and in gdb goes on doing so at every stop ('shmtrace --follow
    off' ends that). --save writes a file that tools/trace reads.
    """

    name = "shmtrace"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--last", type=int, default=40, metavar="N", help="0 for all")
        parser.add_argument("--event", metavar="NAME", help="event or category")
        parser.add_argument("--pid", type=int, help="only of this process")
        parser.add_argument("--follow", nargs="?", const="on", choices=("on", "off"))
        parser.add_argument("--save", metavar="FILE", help="write a trace file")

    def run(self, session: Session, args: Any) -> Report:
        found = rings(session.kernel)
        if not found:
            raise GuestError("this kernel has no trace rings" + _not_yet(session))
        report = Report()
        table = EventTable.of(session.kernel.elf)
        events: list[Event] = []
        lost: dict[int, int] = {}
        for ring in found:
            start = session.follow.get(ring.hart, 0) if args.follow else 0
            copy = ring.copy(start, stopped=False)
            if copy.end < ring.head() and not session.live():
                copy = ring.copy(start, stopped=True)
            events += copy.events()
            lost[ring.hart] = copy.lost
            if args.follow:
                session.follow[ring.hart] = copy.end
        events.sort(key=lambda e: e.time)
        if args.save:
            save(args.save, session.processes, events, lost)
            report.note(f"{args.save}: {len(events)} events, {sum(lost.values())} lost earlier")
            return report
        names = _names(session, table, events)
        chosen = [e for e in events if _wanted(e, table, args)]
        if args.event and not _known(table, args.event):
            raise GuestError(f"{args.event}: no such event or category in this kernel")
        left_out = 0
        if args.last > 0 and not args.follow:
            left_out = max(0, len(chosen) - args.last)
            chosen = chosen[-args.last :]
        section = report.section(
            "events",
            Column("seconds", "TIME"),
            Column("hart", "HART", "dec"),
            Column("pid", "PID", "dec"),
            Column("name", "NAME"),
            Column("event", "EVENT"),
            Column("text", "ARGUMENTS"),
        )
        section.extra = {"lost": {str(hart): n for hart, n in lost.items()}}
        frequency = found[0].frequency
        for e in chosen:
            arguments = table.arguments(e, session.kernel)
            info = table.events.get(e.event)
            row = section.add(time=e.time, sequence=e.sequence, hart=e.hart, pid=e.pid)
            row.update(seconds=f"{e.time / frequency:.6f}", name=names.get(e.pid, ""))
            row.update(event=info.name if info else f"event {e.event}", arguments=arguments)
            row["text"] = " ".join(f"{k}={v}" for k, v in arguments.items())
            row["args"] = list(e.args)
        if left_out:
            report.note(f"{left_out} earlier events in the rings: --last 0 shows all")
        if sum(lost.values()) and (args.follow or not left_out):
            report.note(f"{sum(lost.values())} earlier events have been overwritten")
        if not chosen and not args.follow:
            report.note("no such event is in the rings")
        return report


def _names(session: Session, table: EventTable, events: list[Event]) -> dict[int, str]:
    """Programs by pid: of those that live, and from exec's events of those that have gone."""
    names = {}
    for e in events:
        info = table.events.get(e.event)
        if info and info.name == "exec":
            names[e.pid] = table.arguments(e).get("name", "")
    return names | {p.pid: p.name for p in session.processes.used}


def _not_yet(session: Session) -> str:
    return " yet" if session.kernel.elf.variable("trace_rings") else ""


def _wanted(e: Event, table: EventTable, args: Any) -> bool:
    if args.pid is not None and e.pid != args.pid:
        return False
    info = table.events.get(e.event)
    return not args.event or bool(info and args.event in (info.name, info.category))


def _known(table: EventTable, name: str) -> bool:
    return any(name in (info.name, info.category) for info in table.events.values())
