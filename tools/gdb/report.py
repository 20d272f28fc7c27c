"""What a command found, as data: printed as tables, or as JSON with the same content.

Cells are numbers, text or None ("this kernel has no such field", shown as -). A column says how
numbers look.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Optional

BOLD, DIM, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


@dataclass
class Column:
    """form: hex, dec, or text. `right` aligns numbers."""

    key: str
    title: str
    form: str = "text"

    def show(self, value: Any) -> str:
        """A cell as text."""
        if value is None:
            return "-"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int) and self.form == "hex":
            return f"{value:#x}"
        if isinstance(value, list):
            return ", ".join(str(v) for v in value)
        return str(value)


@dataclass
class Section:
    """A table. Rows hold a value for each column; "problem" marks a row as a fault, "lines" come
    below it.

    `extra` is for JSON alone.
    """

    name: str
    columns: list[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, **values: Any) -> dict[str, Any]:
        """Appends a row."""
        self.rows.append(values)
        return values


@dataclass
class Report:
    """A command's answer. `text` is output in a form of its own; `status` is 1 if it found
    faults.
    """

    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    text: str = ""
    status: int = 0

    def section(self, name: str, *columns: Column, title: str = "") -> Section:
        """Starts a further table."""
        self.sections.append(Section(name, list(columns), title=title))
        return self.sections[-1]

    def note(self, text: str) -> None:
        """A sentence below the tables: what is surprising, or missing."""
        if text not in self.notes:
            self.notes.append(text)


def counted(n: int, one: str, many: str = "") -> str:
    """`1 page`, `2 pages`; `many` where the plural is not with an s."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def to_json(report: Report) -> str:
    """One JSON object: each section's rows by its name, the notes, and text if there is any."""
    value: dict[str, Any] = {}
    for s in report.sections:
        value[s.name] = s.rows
        value.update(s.extra)
    value["notes"] = report.notes
    if report.text:
        value["text"] = report.text
    return json.dumps(value, indent=1, default=str)


def to_text(report: Report, colour: bool = False) -> str:
    """Tables with aligned columns; colour only if asked for."""
    blocks = [_table(s, colour) for s in report.sections if s.rows or s.title]
    if report.text:
        blocks.insert(0, report.text.rstrip("\n"))
    if report.notes:
        blocks.append("\n".join(f"note: {n}" for n in report.notes))
    return "\n\n".join(blocks)


def _table(section: Section, colour: bool) -> str:
    lines = [_paint(section.title, BOLD, colour)] if section.title else []
    if not section.rows:
        return "\n".join(lines)
    cells = [[c.show(row.get(c.key)) for c in section.columns] for row in section.rows]
    heads = [c.title for c in section.columns]
    widths = [max(len(heads[i]), *(len(r[i]) for r in cells)) for i in range(len(heads))]
    right = [c.form != "text" for c in section.columns]
    if any(heads):
        lines.append(_paint(_line(heads, widths, right), DIM, colour))
    for row, texts in zip(section.rows, cells):
        problem: Optional[str] = row.get("problem")
        line = _line(texts, widths, right)
        lines.append(_paint(f"{line}  <- {problem}", RED, colour) if problem else line)
        lines += [f"    {text}" for text in row.get("lines", ())]
    return "\n".join(lines)


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)]
    return "  ".join(parts).rstrip()


def _paint(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{PLAIN}" if colour else text
