"""shmem: which frames processes share, whose they are, what waits in the request queue, and what
does not fit.
"""

from __future__ import annotations

from typing import Any, Optional

from tools.gdb.report import Column, Report
from tools.gdb.session import Command, Parser, Session
from tools.guest.audit import Audit
from tools.guest.frames import FrameTable, free_list
from tools.guest.memory import PAGE, GuestError
from tools.guest.processes import Process
from tools.guest.queue import read_queue
from tools.guest.sharing import Mapping, owner, runs
from tools.guest.sv39 import flag_text

KINDS = {
    "shared": "mapped with map_shared_pages",
    "cow": "copied on the next write",
    "fork": "kept since fork",
    "same": "twice in one process",
}


class Shmem(Command):
    """shmem [PID | NAME | frame PA | queue | check] [--all]

    Every frame that more than one process maps: its owner, each process with its
    address and permissions, the kernel's reference count, and the waiting requests.
    Copy-on-write and read-only pages kept from a fork are counted, and shown
    with --all.

    shmem PID        what one process shares
    shmem frame PA   who maps one frame
    shmem queue      each request, its client, and the crypto header it points to
    shmem check      counts, free list, shared bits and sz that do not fit
    """

    name = "shmem"
    prefixes = ("frame", "queue", "check")

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("what", nargs="?", help="pid, name, frame, queue or check")
        parser.add_argument("address", nargs="?", help="physical address, after frame")
        parser.add_argument("--all", action="store_true", help="copy-on-write pages too")

    def run(self, session: Session, args: Any) -> Report:
        report = Report()
        if args.what == "frame":
            if args.address is None:
                raise GuestError("shmem frame: give the physical address of a frame")
            _frame(session, report, session.evaluate(args.address))
        elif args.what == "queue":
            _queue(session, report, True)
        elif args.what == "check":
            _check(session, report)
        else:
            process = session.process(args.what) if args.what else None
            _shared(session, report, process, bool(args.all))
            if process is None:
                _queue(session, report, False)
        return report


def _describe(m: Mapping) -> dict[str, Any]:
    return {
        "pid": m.process.pid,
        "name": m.process.name,
        "va": m.va,
        "perm": flag_text(m.entry & 0x3FF),
        "shared_in": m.shared_in,
    }


def _where(m: Mapping, pages: int) -> str:
    end = f"..{m.va + pages * PAGE - 1:#x}" if pages > 1 else ""
    perm = flag_text(m.entry & 0x3FF)[:4]
    return f"{m.process.label} {m.va:#x}{end} {perm}" + (" S" if m.shared_in else "")


def _shared(session: Session, report: Report, process: Optional[Process], every: bool) -> None:
    found = [
        run
        for run in runs(session.mappings.shared())
        if process is None or any(m.process is process for m in run.mappings)
    ]
    counts = FrameTable.of(session.kernel)
    hidden = sum(run.pages for run in found if run.kind in ("cow", "fork"))
    shown = [run for run in found if every or run.kind not in ("cow", "fork")]
    pages = sum(run.pages for run in shown)
    section = report.section(
        "shared",
        Column("pa", "FRAME", "hex"),
        Column("pages", "PAGES", "dec"),
        Column("count", "COUNT", "dec"),
        Column("owner", "OWNER"),
        Column("others", "ALSO MAPPED BY"),
        Column("why", "WHY"),
        title=f"{pages} shared frame{'s' if pages != 1 else ''}"
        + (f" of {process.label}" if process else ""),
    )
    for run in shown:
        mine = owner(run.mappings)
        others = [m for m in run.mappings if m is not mine]
        row = section.add(pa=run.pa, pages=run.pages, frames=run.frames, kind=run.kind)
        row["count"] = counts.count_of(run.pa) if counts else None
        row["owner"] = _where(mine, run.pages) if mine else "gone"
        row["others"] = [_where(m, run.pages) for m in others]
        row["mappings"] = [_describe(m) for m in run.mappings]
        row["why"] = KINDS[run.kind]
    if hidden and not every:
        report.note(
            f"{hidden} more are shared since a fork until somebody writes: --all shows them"
        )
    if counts is None and shown:
        report.note("this kernel keeps no reference counts")


def _frame(session: Session, report: Report, pa: int) -> None:
    """The reverse map of one frame."""
    frame = pa & -PAGE
    if not session.kernel.memory.contains(frame, PAGE):
        raise GuestError(f"{pa:#x} is not a physical address in the guest's memory")
    section = report.section(
        "mappings",
        Column("pid", "PID", "dec"),
        Column("name", "NAME"),
        Column("va", "VIRTUAL", "hex"),
        Column("perm", "RWXU GAD SC"),
        title=f"frame {frame:#x}",
    )
    for m in session.mappings.frames.get(frame, []):
        section.add(**_describe(m))
    counts = FrameTable.of(session.kernel)
    section.extra = {"frame": frame, "count": counts.count_of(frame) if counts else None}
    if counts:
        report.note(
            f"reference count {counts.count_of(frame)}, {counts.shares_of(frame)} shared in"
        )
    try:
        section.extra["free"] = free = frame in free_list(session.kernel)
        if free:
            report.note("it is on the free list")
    except GuestError as e:
        report.note(str(e))
        free = False
    for p in session.processes.used:
        table = session.mappings.tables.get(p.slot)
        if table and frame in table.pages:
            page = table.pages[frame]
            report.note(f"it is a level {page.level} table page of {p.label}, from {page.va:#x}")
        if p.trapframe and session.kernel.to_pa(p.trapframe) == frame:
            report.note(f"it holds the trapframe of {p.label}")
    if not section.rows and not report.notes:
        report.note("no process maps it")


def _queue(session: Session, report: Report, asked: bool) -> None:
    queue = read_queue(session.processes)
    if queue is None:
        if asked:
            raise GuestError("this kernel has no shmem_queue")
        return
    n = len(queue.requests)
    section = report.section(
        "queue",
        Column("slot", "SLOT", "dec"),
        Column("state", "STATE"),
        Column("client", "CLIENT"),
        Column("doing", "CLIENT IS"),
        Column("va", "ADDRESS", "hex"),
        Column("size", "SIZE", "dec"),
        Column("header", "CRYPTO HEADER"),
        title=f"{n} of {queue.capacity} requests in the queue",
    )
    section.extra = {"capacity": queue.capacity, "indices": queue.fields}
    for r in queue.requests:
        row = section.add(slot=r.slot, pid=r.client_pid, va=r.va, size=r.size, state=r.state)
        row["client"] = r.client.label if r.client else f"pid {r.client_pid}"
        row["doing"] = r.client.state if r.client else None
        row["header"] = str(r.header) if r.header else None
        row["crypto"] = vars(r.header) if r.header else None
        if r.problem:
            row["problem"] = r.problem


def _check(session: Session, report: Report) -> None:
    audit = Audit(session.processes, session.mappings)
    found = [f for f in audit.run() if f.kind != "hole" or audit.counts is None]
    section = report.section(
        "findings", Column("level", ""), Column("kind", ""), Column("message", "")
    )
    for f in found:
        section.add(level=f.level, kind=f.kind, message=f.message, **f.data)
    errors = sum(f.level == "error" for f in found)
    report.status = int(errors > 0)
    if not errors:
        frames = len(audit.mappings.frames)
        report.note(f"no error in {len(audit.mappings.tables)} tables, {frames} user frames")
    if audit.free is None:
        report.note(audit.no_free_list)
    if audit.counts is None:
        report.note(
            "this kernel keeps no reference counts: only mappings and free list are compared"
        )
    if session.live():
        report.note("the guest is running: a finding may be a change caught half-way, look again")
