"""pagetable and walk: one page table whole, and one translation step by step."""

from __future__ import annotations

import re
from typing import Any, Iterable, Optional

from tools.gdb.report import Column, Report, Section, counted
from tools.gdb.session import Command, Parser, Session, span
from tools.guest.audit import Audit
from tools.guest.memory import GuestError
from tools.guest.processes import Process
from tools.guest.regions import KernelStacks, Row, each_leaf, fold_stacks, kernel_rows, user_rows
from tools.guest.sharing import owner
from tools.guest.sv39 import (
    LEAF,
    A,
    Problem,
    S,
    Table,
    TablePage,
    V,
    address_of,
    canonical,
    flag_text,
    read_table,
    walk,
)

LETTERS = "VRWXUGADSC"
RANGES = (
    Column("va", "VIRTUAL", "hex"),
    Column("end", "END", "hex"),
    Column("pa", "PHYSICAL", "hex"),
    Column("size", "SIZE"),
    Column("perm", "RWXU GAD SC"),
    Column("what", "WHAT"),
)


def size_text(size: int) -> str:
    """Bytes as K, M or G where that is exact."""
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


class Target:
    """A page table somebody asked for: whose it is, and which half of it matters."""

    def __init__(self, session: Session, text: Optional[str], number: Optional[str] = None):
        self.process: Optional[Process] = None
        self.root = 0
        self.half: Optional[str] = None
        self.note = ""
        if text in (None, "hart"):
            hart = session.current_hart() if number is None else _hart_number(session, number)
            self._of_hart(session, 0 if hart is None else hart)
        elif text == "kernel":
            self._of_kernel(session)
        elif text and text.lower().startswith("0x"):
            self.root = int(text, 16)
            self._whose(session)
        elif text:
            self._of_process(session, session.table_owner(text))
        self.kernels = self.process is None and self.root == session.kernel.root

    def _of_kernel(self, session: Session) -> None:
        root = session.kernel.root
        if root is None:
            raise GuestError("the kernel has no page table yet: paging is not set up")
        self.root = root

    def _of_process(self, session: Session, process: Process) -> None:
        if process.root is None:
            raise GuestError(f"{process.label} is {process.state} and has no page table")
        self.process, self.root, self.half = process, process.root, "user"

    def _of_hart(self, session: Session, hart: int) -> None:
        satp = session.satp(hart)
        if satp is None:
            harts = session.processes.harts
            runs = harts[hart].process if hart < len(harts) else None
            self.note = f"hart {hart}'s satp is not known here: "
            self.note += (
                f"this is the table of {runs.label}, which it runs"
                if runs
                else "this is the kernel's table"
            )
            self._of_process(session, runs) if runs and runs.root else self._of_kernel(session)
            return
        if satp >> 60 != SATP:
            raise GuestError(f"hart {hart} has paging off (satp {satp:#x}): addresses are physical")
        self.root = (satp & (1 << 44) - 1) << 12
        self._whose(session)

    def _whose(self, session: Session) -> None:
        """A root alone: find its process, if it is one's."""
        try:
            self.process = next((p for p in session.processes.used if p.root == self.root), None)
        except GuestError:
            return  # no proc[]: show the table all the same
        if self.process is not None:
            self.half = "user"

    @property
    def title(self) -> str:
        """Whose it is."""
        return self.process.label if self.process else "kernel" if self.kernels else "page table"


SATP = 8  # MODE field of satp for Sv39


def _hart_number(session: Session, text: str) -> int:
    if not text.isdecimal():
        raise GuestError(f"{text}: not the number of a hart")
    return int(text)


class PageTable(Command):
    """pagetable [PID | NAME | hart [N] | kernel | ROOT] [options]

    Shows a page table as ranges of equal permissions: virtual and physical address,
    size, R W X U, G A D, and the two software bits S (shared in) and C (copy on
    write), and what the range is. A bit in lower case is set in some pages only.
    Without an argument: the table this hart translates with. Broken entries are
    rows of their own, with the reason.
    """

    name = "pagetable"
    prefixes = ("hart", "kernel")

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("target", nargs="?", help="pid, name, hart, kernel, or root address")
        parser.add_argument("number", nargs="?", help="which hart")
        parser.add_argument("--all", action="store_true", help="every leaf, none merged")
        parser.add_argument("--perm", metavar="REGEX", help="only bits that match, e.g. 'W.*X'")
        parser.add_argument("--va", type=span, metavar="A..B", help="only these addresses")
        parser.add_argument("--pa", type=span, metavar="A..B", help="only these frames")
        parser.add_argument("--tree", action="store_true", help="the table pages themselves")
        parser.add_argument("--vmprint", action="store_true", help="as the page-table lab prints")
        parser.add_argument("--check", action="store_true", help="what is wrong with it")

    def run(self, session: Session, args: Any) -> Report:
        target = Target(session, args.target, args.number)
        table = read_table(session.kernel.memory, target.root, target.half)
        if target.root not in table.pages:
            raise GuestError(table.problems[0].text)
        report = Report()
        if target.note:
            report.note(target.note)
        if args.vmprint:
            report.text = vmprint(table)
        elif args.tree:
            _tree(report, table)
        elif args.check:
            _check(session, report, target, table)
        else:
            _ranges(session, report, target, table, args)
        return report


def _ranges(session: Session, report: Report, target: Target, table: Table, args: Any) -> None:
    rows = _rows(session, target, table, args)
    leaves = sum(1 for _ in table.leaves())
    section = report.section("ranges", *RANGES, title=_title(target, table, leaves))
    section.extra = {"root": target.root, "pid": target.process.pid if target.process else None}
    items: list[tuple[int, int, Row | Problem]] = [(r.range.va, 1, r) for r in rows]
    items += [(p.va, 0, p) for p in table.problems]
    try:
        wanted = re.compile(args.perm) if args.perm else None
    except re.error as e:
        raise GuestError(f"--perm {args.perm}: {e}") from None
    partners = _partners(session, target, table)
    for _, _, item in sorted(items, key=lambda i: i[:2]):
        if isinstance(item, Problem):
            if _inside(args, item.va, address_of(item.entry), item.size) and not wanted:
                _problem_row(section, item)
            continue
        r, what = item.range, item.what
        if not _inside(args, r.va, r.pa, r.size):
            continue
        if wanted and not wanted.search(letters(r.flags)):
            continue
        what += partners.get(r.va, "") if r.flags & S else ""
        what += f" ({r.pieces} pieces)" if r.pieces > 1 else ""
        what += {1: ", 2M pages", 2: ", 1G pages"}.get(r.level, "")
        row = section.add(va=r.va, end=r.va + r.size - 1, pa=r.pa, size=size_text(r.size))
        row.update(perm=flag_text(r.flags, r.some), what=what, bytes=r.size, flags=r.flags)
        row.update(some=r.some, pieces=r.pieces, level=r.level)
    if target.half == "user" and session.kernel.direct:
        report.note("its upper half is the kernel's: see 'pagetable kernel'")
    if not section.rows and (rows or table.problems):
        report.note("no range is among those asked for")
    elif not section.rows:
        report.note("no entry is valid")


def _title(target: Target, table: Table, leaves: int) -> str:
    p = target.process
    size = f", sz {p.size:#x}" if p and p.size is not None else ""
    pages = counted(len(table.pages), "table page")
    return (
        f"{target.title}: root {target.root:#x}, {pages}, {counted(leaves, 'leaf', 'leaves')}{size}"
    )


def _rows(session: Session, target: Target, table: Table, args: Any) -> list[Row]:
    """The ranges, or with --all the leaves. Whose each kernel stack is costs reading proc[]: it is
    said where stacks are shown one by one.
    """
    kernel, process = session.kernel, target.process
    one_by_one = args.all or args.json or args.va or args.pa
    if process is not None:
        rows = user_rows(kernel, process, table, session.programs.find(process.name))
    else:
        try:
            stacks = KernelStacks(kernel, session.processes if one_by_one else None)
        except GuestError:
            stacks = KernelStacks(kernel)
        rows = kernel_rows(kernel, table, stacks)
    if args.all:
        return each_leaf(table, rows)
    return rows if one_by_one else fold_stacks(rows)


def _partners(session: Session, target: Target, table: Table) -> dict[int, str]:
    """For each shared-in page, whose frame it is; other tables are read only if there is such a
    page.
    """
    process = target.process
    if process is None or not any(leaf.entry & S for leaf in table.leaves()):
        return {}
    found = {}
    for leaf in table.leaves():
        if leaf.entry & S:
            mine = owner(session.mappings.frames.get(leaf.pa, []))
            found[leaf.va] = f" from {mine.process.label}" if mine else ", owner gone"
    return found


def _inside(args: Any, va: int, pa: int, size: int) -> bool:
    for limits, start in ((args.va, va), (args.pa, pa)):
        if limits and (start > limits[1] or start + size - 1 < limits[0]):
            return False
    return True


def _problem_row(section: Section, p: Problem) -> None:
    row = section.add(va=p.va, end=p.va + p.size - 1, pa=address_of(p.entry), size="")
    row.update(perm=flag_text(p.entry & 0x3FF), what=f"level {p.level} entry")
    if p.kind == "marked":
        row.update(pa=None, size=size_text(p.size), what=f"guard or hole: {p.text}")
    else:
        row["problem"] = p.text
    row.update(kind=p.kind, entry=p.entry, level=p.level, table=p.table, index=p.index)


def letters(flags: int) -> str:
    """The bits that are set, as letters, V left out."""
    return "".join(c for i, c in enumerate(LETTERS) if flags >> i & 1 and c != "V")


def _tree(report: Report, table: Table) -> None:
    section = report.section(
        "tables",
        Column("level", "LEVEL", "dec"),
        Column("pa", "TABLE PAGE", "hex"),
        Column("va", "MAPS FROM", "hex"),
        Column("pointers", "POINTERS", "dec"),
        Column("leaves", "LEAVES", "dec"),
        Column("bad", "BAD", "dec"),
    )

    def visit(page: TablePage) -> None:
        bad = sum(p.table == page.pa for p in table.problems)
        below = []
        leaves = 0
        for i in page.used:
            leaves += bool(page.entries[i] & V and page.entries[i] & LEAF)
            page_below = table.below(page, i)
            if page_below:
                below.append(page_below)
        va = canonical(page.va)
        section.add(
            level=page.level, pa=page.pa, va=va, pointers=len(below), leaves=leaves, bad=bad
        )
        for page_below in below:
            visit(page_below)

    visit(table.pages[table.root])
    for p in table.problems:
        report.note(f"level {p.level} entry for {p.va:#x}: {p.text}")


def vmprint(table: Table) -> str:
    """The valid entries, indented by depth, in the format the page-table lab asks of students."""
    lines = [f"page table {table.root:#018x}"]

    def visit(page: TablePage, depth: int) -> None:
        for i in page.used:
            entry = page.entries[i]
            if not entry & V:
                continue
            lines.append(f"{' ..' * depth}{i}: pte {entry:#018x} pa {address_of(entry):#018x}")
            below = table.below(page, i)
            if below:
                visit(below, depth + 1)

    visit(table.pages[table.root], 1)
    return "\n".join(lines)


def _check(session: Session, report: Report, target: Target, table: Table) -> None:
    section = report.section(
        "findings", Column("level", ""), Column("kind", ""), Column("message", "")
    )
    audit = Audit(session.processes, session.mappings)
    found = audit.table(target.process) if target.process else audit.bare_table(table)
    if target.process:
        pid = target.process.pid
        freed = audit.freed_but_mapped()
        found += [f for f in freed if any(m[0] == pid for m in f.data["mappings"])]
    for f in found:
        section.add(level=f.level, kind=f.kind, message=f.message, **f.data)
    if not found:
        report.note("nothing is wrong with it")
    if audit.free is None:
        report.note(audit.no_free_list)
    report.status = int(any(f.level == "error" for f in found))


class WalkCommand(Command):
    """walk VA [PID | NAME | hart [N] | kernel | ROOT]

    Translates one address as the hardware does: each level with its entry's address,
    bits and meaning, ending in the frame or in the exact reason why there is none,
    and which accesses fault, in user and in supervisor mode.
    """

    name = "walk"
    prefixes = ("hart", "kernel")

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("va", help="address, symbol, or (in gdb) expression")
        parser.add_argument("target", nargs="?", help="whose table; default this hart's")
        parser.add_argument("number", nargs="?", help="which hart")

    def run(self, session: Session, args: Any) -> Report:
        va = session.evaluate(args.va) & (1 << 64) - 1
        target = Target(session, args.target, args.number)
        found = walk(session.kernel.memory, target.root, va)
        report = Report()
        if target.note:
            report.note(target.note)
        section = report.section(
            "steps",
            Column("level", "LEVEL", "dec"),
            Column("index", "INDEX", "dec"),
            Column("address", "ENTRY AT", "hex"),
            Column("entry", "ENTRY", "hex"),
            Column("bits", "RWXU GAD SC"),
            Column("meaning", "MEANING"),
            title=f"{va:#x} in {target.title} (root {target.root:#x})",
        )
        for level, index, address, entry in found.steps:
            row = section.add(level=level, index=index, address=address, entry=entry)
            row.update(bits=flag_text(entry & 0x3FF), meaning=_meaning(entry, level))
        pa = found.pa
        section.extra = {"va": va, "pa": pa, "reason": found.reason, "root": target.root}
        if pa is None:
            report.note(f"every access faults: {found.reason}")
            return report
        report.note(f"{va:#x} is at physical address {pa:#x}" + _frame_user(session, target, pa))
        section.extra["faults"] = faults = {
            f"{mode} {what}": found.fault(letter, mode == "user")
            for mode in ("user", "supervisor")
            for what, letter in (("read", "R"), ("write", "W"), ("fetch", "X"))
        }
        for text in dict.fromkeys(filter(None, faults.values())):
            which = [k for k, v in faults.items() if v == text]
            report.note(f"{_list(which)} fault{'s' if len(which) == 1 else ''}: {text}")
        return report


def _meaning(entry: int, level: int) -> str:
    if not entry & V:
        return "not valid" if entry else "empty"
    if entry & LEAF:
        reach = ("4K page", "2M page", "1G page")[level]
        return f"{reach} at {address_of(entry):#x}" + (
            "" if entry & A else ", never used (A clear)"
        )
    return f"table at {address_of(entry):#x}"


def _list(words: Iterable[str]) -> str:
    items = list(words)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _frame_user(session: Session, target: Target, pa: int) -> str:
    """What lies at the frame, for the kernel's own addresses."""
    if target.process is not None:
        return ""
    name = session.kernel.name_of(pa + session.kernel.direct)
    return f" ({name})" if name else ""
