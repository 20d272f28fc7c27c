"""frames, snapshot and diff: where memory has gone, and what changed between two stops."""

from __future__ import annotations

from typing import Any

from tools.gdb.report import Column, Report
from tools.gdb.session import Command, Parser, Session
from tools.guest.accounts import account
from tools.guest.audit import Audit
from tools.guest.snapshot import diff, take

SHOWN = 16  # leaked frames listed; --json has them all


class Frames(Command):
    """frames

    Physical frames: how many are free, what the rest is used for, how many each
    process holds (its own, shared with others, pages of its table), and leaks:
    frames that are allocated and reached by nothing.
    """

    name = "frames"

    def run(self, session: Session, args: Any) -> Report:
        audit = Audit(session.processes, session.mappings)
        a = account(audit)
        report = Report()
        uses = report.section("uses", Column("frames", "FRAMES", "dec"), Column("use", "USED FOR"))
        held = sum(p.own for p in a.processes)
        tables = sum(p.tables for p in a.processes)
        shared = len([1 for leaves in audit.mappings.frames.values() if len(leaves) > 1])
        for count, use in (
            (a.total, "all"),
            (a.free, "free"),
            (a.kernel, "the kernel's image and what it took at boot"),
            (a.kernel_tables, "the kernel's page table"),
            (a.kernel_stacks, "kernel stacks and other pages the kernel maps apart"),
            (a.kernel_data, "kernel objects (found by pointers to them)"),
            (held, "processes' own pages"),
            (shared, "pages several processes map"),
            (tables, "processes' page tables"),
            (len(a.leaked), "nothing: leaked"),
        ):
            uses.add(frames=count, use=use)
        users = report.section(
            "processes",
            Column("pid", "PID", "dec"),
            Column("name", "NAME"),
            Column("own", "OWN", "dec"),
            Column("shared", "SHARED", "dec"),
            Column("tables", "TABLES", "dec"),
        )
        for p in a.processes:
            row = users.add(pid=p.process.pid, name=p.process.name, own=p.own)
            row.update(shared=p.shared, tables=p.tables)
        uses.extra = {"leaked": a.leaked, "free": a.free, "total": a.total}
        if a.leaked:
            listed = " ".join(hex(pa) for pa in a.leaked[:SHOWN])
            more = f" and {len(a.leaked) - SHOWN} more" if len(a.leaked) > SHOWN else ""
            report.note(f"leaked: {listed}{more}")
            report.status = 1
        if session.kernel.root is None:
            report.note("the kernel has no page table yet: its allocator has not run")
        if audit.free and audit.free.problem:
            report.note(audit.free.problem)
            report.status = 1
        if session.live():
            report.note("the guest is running: counts may be of different moments")
        return report


class SnapshotCommand(Command):
    """snapshot NAME

    Keeps the guest as it is now (processes, page tables, counts, free frames, queue)
    for 'diff'. In xv6-inspect NAME is a file.
    """

    name = "snapshot"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("snapshot", metavar="NAME", help="to keep it under")

    def run(self, session: Session, args: Any) -> Report:
        taken = take(session.processes)
        session.keep_snapshot(args.snapshot, taken)
        report = Report()
        n, pages = len(taken.processes), len(taken.pages)
        report.note(f"{args.snapshot}: {n} processes, {pages} pages, {taken.free} free frames")
        return report


class DiffCommand(Command):
    """diff A [B]

    What changed from snapshot A to snapshot B, or to now: processes, pages of page
    tables, reference counts and free frames, requests in the queue.
    """

    name = "diff"

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("old", metavar="A", help="snapshot")
        parser.add_argument("new", metavar="B", nargs="?", help="later snapshot; default now")

    def run(self, session: Session, args: Any) -> Report:
        old = session.get_snapshot(args.old)
        new = session.get_snapshot(args.new) if args.new else take(session.processes)
        report = Report()
        section = report.section(
            "changes",
            Column("what", "WHAT"),
            Column("pid", "PID", "dec"),
            Column("where", "WHERE"),
            Column("before", "BEFORE"),
            Column("after", "AFTER"),
        )
        for change in diff(old, new):
            section.add(**vars(change))
        if not section.rows:
            report.note("nothing changed")
        return report

    def complete(self, session: Session, word: str) -> list[str]:
        options = [w for w in super().complete(session, word) if w.startswith("--")]
        return sorted([*options, *(name for name in session.snapshots if name.startswith(word))])
