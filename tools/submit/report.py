"""A report in the forms people and programs want: terminal text, JSON, JUnit, HTML, Gradescope."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tools.guest.memory import GuestError
from tools.submit.findings import CATALOGUE, Finding, Report, plain

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
    return plain("\n".join(lines) + "\n")


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
    return plain(ElementTree.tostring(suite, encoding="unicode") + "\n")


def gradescope(report: Report, rubric: Path) -> str:
    """Gradescope's results.json. rubric: JSON that maps ids to points; an id it does not name
    costs and gives nothing. An undecided id gives its points: nobody pays for what is not shown.
    """
    try:
        points = {str(k): float(v) for k, v in json.loads(rubric.read_text("utf-8")).items()}
        if not all(map(math.isfinite, points.values())):
            raise ValueError("points without end")
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
padding:.6em;overflow-x:auto;font-size:13px}.place{color:#555}svg{max-width:100%;height:auto;display:block}
iframe{width:100%;height:44em;border:1px solid #999}
@media(prefers-color-scheme:dark){body{background:#1c1c1c;color:#ddd}pre{background:#2a2a2a}
.place{color:#aaa}}"""


def as_html(report: Report) -> str:
    """One file without anything to fetch: summary, then each finding with evidence, timeline, memory."""
    esc = html.escape
    body = [f"<h1>{esc(report.tree)}</h1><p>{esc(summary(report))}; {report.seconds:.0f} s.</p>"]
    body += [f"<p>{esc(note)}</p>" for note in report.notes]
    for f in report.findings:
        body.append(
            f'<section class="{f.severity}" id="{esc(f.id)}"><h2>{esc(f.id)}: {esc(f.sentence)}</h2>'
            f'<p class="place">{esc(place(f))}</p>'
            f"<ol>{''.join(f'<li><code>{esc(line)}</code></li>' for line in f.evidence)}</ol>"
            f"<p>See it: <code>{esc(f.reproduce)}</code>. Read: <code>{esc(f.docs)}</code></p>{f.drawing}</section>"
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
