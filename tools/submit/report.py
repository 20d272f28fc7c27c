"""A report in the forms people and programs want: terminal text, JSON, JUnit, HTML, Gradescope."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tools.guest.memory import GuestError
from tools.submit.findings import CATALOGUE, Finding, Report

MARKS = {"error": "ERROR  ", "warning": "WARNING", "note": "NOTE   "}


def place(finding: Finding) -> str:
    """`function (file:line)`, as far as known."""
    where = f"{finding.file}:{finding.line}" if finding.file else ""
    if finding.function and where:
        return f"{finding.function} ({where})"
    return finding.function or where


def text(report: Report) -> str:
    """For a terminal: one paragraph for each finding, then what passed."""
    lines = [f"{report.tree}"]
    lines += [f"  note: {note}" for note in report.notes]
    for f in report.findings:
        lines += ["", f"{MARKS[f.severity]} {f.id}: {f.sentence}"]
        lines += [f"    in {place(f)}"] if place(f) else []
        lines += [f"      {line}" for line in f.evidence]
        lines += [f"    see it: {f.reproduce}    read: {f.docs}"]
    lines += ["", f"{len(report.findings)} finding(s) in {report.seconds:.0f} s."]
    if report.passed:
        lines.append(f"tried and right: {' '.join(report.passed)}")
    reasons: dict[str, list[str]] = {}
    for id, why in report.undecided.items():
        reasons.setdefault(why, []).append(id)
    lines += [f"undecided: {' '.join(ids)}: {why}" for why, ids in reasons.items()]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """The stable form."""
    return json.dumps(report.as_dict(), indent=1) + "\n"


def shape_text(report: Report) -> str:
    """What --show-shape prints."""
    return json.dumps(report.shape, indent=1) + "\n"


def junit(report: Report) -> str:
    """One test case for each id of the catalogue that was looked at."""
    suite = ElementTree.Element("testsuite", name=f"submit {report.tree}")
    for f in report.findings:
        case = ElementTree.SubElement(suite, "testcase", classname="submit", name=f.id)
        failure = ElementTree.SubElement(case, "failure", message=f.sentence, type=f.severity)
        failure.text = "\n".join([place(f), *f.evidence])
    for id in report.passed:
        ElementTree.SubElement(suite, "testcase", classname="submit", name=id)
    for id, why in report.undecided.items():
        case = ElementTree.SubElement(suite, "testcase", classname="submit", name=id)
        ElementTree.SubElement(case, "skipped", message=why)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(report.findings)))
    suite.set("skipped", str(len(report.undecided)))
    return ElementTree.tostring(suite, encoding="unicode") + "\n"


def gradescope(report: Report, rubric: Path) -> str:
    """Gradescope's results.json. rubric: JSON that maps ids to points; an id it does not name
    costs and gives nothing. An undecided id gives its points: nobody pays for what is not shown.
    """
    try:
        points = {str(k): float(v) for k, v in json.loads(rubric.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise GuestError(f"{rubric}: not a rubric, an object of ids and points ({error})") from None
    unknown = sorted(set(points) - set(CATALOGUE))
    if unknown:
        raise GuestError(f"{rubric}: no such id: {unknown[0]}")
    found = {f.id: f for f in report.findings}
    blocked = any(
        f.id in ("B1", "NOT-IMPLEMENTED") and f.severity == "error" for f in report.findings
    )
    tests = []
    for id, most in points.items():
        f = found.get(id)
        lost = f is not None or (blocked and id not in report.passed)
        lines = [f.sentence, place(f), *f.evidence] if f else []
        if f is None:
            lines = [
                report.undecided.get(id, "tried and right" if not lost else "could not be tried")
            ]
        test: dict[str, Any] = {
            "name": f"{id}: {CATALOGUE[id][1]}",
            "score": 0.0 if lost else most,
            "max_score": most,
            "status": "failed" if lost else "passed",
            "output": "\n".join(line for line in lines if line),
        }
        tests.append(test)
    return json.dumps({"tests": tests, "output": summary(report)}, indent=1) + "\n"


def summary(report: Report) -> str:
    """One line."""
    counts = [
        f"{n} {name}{'s' if n != 1 else ''}"
        for name in MARKS
        if (n := sum(f.severity == name for f in report.findings))
    ]
    return ", ".join(counts) or "no findings"


STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;
color:#1b1b1b;background:#fff}h1{font-size:1.3em}section{border-left:4px solid #c33;padding:.2em 1em;
margin:1.2em 0}section.warning{border-color:#d90}section.note{border-color:#888}pre{background:#f4f4f4;
padding:.6em;overflow-x:auto;font-size:13px}.place{color:#555}svg{max-width:100%}
@media(prefers-color-scheme:dark){body{background:#1c1c1c;color:#ddd}pre{background:#2a2a2a}
.place{color:#aaa}}"""


def as_html(report: Report) -> str:
    """One file without anything to fetch: summary, then each finding with evidence and picture."""
    esc = html.escape
    body = [f"<h1>{esc(report.tree)}</h1><p>{esc(summary(report))}; {report.seconds:.0f} s.</p>"]
    body += [f"<p>{esc(note)}</p>" for note in report.notes]
    for f in report.findings:
        body.append(
            f'<section class="{f.severity}" id="{esc(f.id)}"><h2>{esc(f.id)}: {esc(f.sentence)}</h2>'
            f'<p class="place">{esc(place(f))}</p>{_picture(f)}'
            f"<ol>{''.join(f'<li><code>{esc(line)}</code></li>' for line in f.evidence)}</ol>"
            f"<p>See it: <code>{esc(f.reproduce)}</code>. Read: <code>{esc(f.docs)}</code></p></section>"
        )
    body.append(f"<h2>Tried and right</h2><p>{esc(' '.join(report.passed)) or 'nothing'}</p>")
    if report.undecided:
        rows = "".join(f"<li>{esc(k)}: {esc(v)}</li>" for k, v in report.undecided.items())
        body.append(f"<h2>Undecided</h2><ul>{rows}</ul>")
    title = esc(f"{report.tree}: {summary(report)}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _picture(finding: Finding) -> str:
    """The destination's memory at the evidence: its pages gained and lost as boxes, sz as a line."""

    boxes: list[tuple[str, int, str]] = []
    sizes: list[int] = []
    for line in finding.evidence:
        page = re.search(
            r"(new in|gone from|above sz now).*?: (0x[0-9a-f]+) -> frame (0x[0-9a-f]+)", line
        )
        size = re.match(r"sz of pid \d+: (0x[0-9a-f]+) before, (0x[0-9a-f]+) after", line)
        if page and not any(b[1] == int(page[2], 16) for b in boxes):
            boxes.append((page[1], int(page[2], 16), page[3]))
        if size and not sizes:
            sizes = [int(size[1], 16), int(size[2], 16)]
    if not boxes:
        return ""
    boxes.sort(key=lambda b: b[1])
    base, scale, parts = boxes[0][1] - 4096, 90 / 4096, []
    for kind, va, frame in boxes[:8]:
        x = (va - base) * scale
        dash = ' stroke-dasharray="4"' if kind == "gone from" else ""
        parts.append(
            f'<rect x="{x:.0f}" y="20" width="88" height="34" fill="none" stroke="currentColor"{dash}/>'
            f'<text x="{x + 4:.0f}" y="34" font-size="11" fill="currentColor">{va:#x}</text>'
            f'<text x="{x + 4:.0f}" y="48" font-size="10" fill="currentColor">{frame}</text>'
        )
    for name, va, y in zip(("sz before", "sz after"), sizes, (12, 74)):
        x = min(max((va - base) * scale, 0), 800)
        parts.append(
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="16" y2="64" stroke="#c33"/>'
            f'<text x="{x + 3:.0f}" y="{y}" font-size="11" fill="#c33">{name} {va:#x}</text>'
        )
    return f'<svg viewBox="0 0 900 80" role="img" aria-label="memory">{"".join(parts)}</svg>'
