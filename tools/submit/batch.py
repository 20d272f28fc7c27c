"""Many trees: GNU parallel runs `submit check` on each, a table shows trees against findings.

Each tree is a process of its own, so one that breaks disturbs no other. A job log makes a batch
resumable. On other machines (--sshlogin) this project must lie at the same path.
"""

from __future__ import annotations

import csv
import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tools.guest.memory import GuestError
from tools.submit.build import OURS
from tools.submit.check import Options
from tools.submit.findings import CATALOGUE, SEVERITIES, plain
from tools.submit.report import STYLE

SUBMIT = OURS / "tools/submit/submit"
ONE_TREE = 1800  # seconds until parallel gives a tree up: far beyond every bound inside


def run(folder: Path, out: Path, options: Options, trees: int, logins: list[str]) -> int:
    """Checks every folder and zip file in `folder`; 1 if there are findings, else 0."""
    if not shutil.which("parallel"):
        raise GuestError("parallel is missing: 'make setup' installs it")
    if not folder.is_dir():
        raise GuestError(f"{folder}: no such folder")
    subjects = sorted(
        p.resolve()
        for p in folder.iterdir()
        if (p.is_dir() or p.suffix == ".zip") and not p.name.startswith(".")
    )
    if not subjects:
        raise GuestError(f"{folder}: no trees in it")
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    command = ["parallel", "--will-cite", "--joblog", str(out / "joblog"), "--resume"]
    command += ["--jobs", str(trees), "--timeout", str(ONE_TREE)]
    for login in logins:
        command += ["--sshlogin", login]
    flags = ["--jobs", str(options.jobs), "--cpus", str(options.cpus)]
    flags += ["--timeout", str(int(options.timeout))]
    flags += ["--only", ",".join(options.only)] if options.only else []
    stem = f"{out}/{{/}}"
    inner = [str(SUBMIT), "check", "{}", *flags, "--json", f"{stem}.json", "--html", f"{stem}.html"]
    quoted = " ".join(inner) + f" > {stem}.txt 2> {stem}.err"
    subprocess.run([*command, quoted], input="\n".join(map(str, subjects)), text=True, check=False)
    rows = [(p.name, read(out / f"{p.name}.json", out / f"{p.name}.err")) for p in subjects]
    write_table(out, rows)
    return 1 if any(row.get("findings") for _, row in rows) else 0


def read(path: Path, errors: Path) -> dict[str, Any]:
    """What a check wrote, as far as the table needs it: findings, or why there is no report."""
    try:
        found = json.loads(path.read_text("utf-8"))["findings"]
        rows = [{name: f[name] for name in ("id", "severity", "sentence")} for f in found]
        if all(r["id"] in CATALOGUE and r["severity"] in SEVERITIES for r in rows):
            return {"findings": [{**r, "sentence": plain(str(r["sentence"]))} for r in rows]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # damaged, or the check did not come so far
    why = errors.read_text("utf-8", "replace").strip() if errors.is_file() else ""
    return {"findings": [], "failed": plain(why.splitlines()[-1]) if why else "no report"}


def write_table(out: Path, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """table.csv and index.html: a row for each tree, a column for each id that occurs."""
    found = {name: {f["id"]: f for f in row["findings"]} for name, row in rows}
    columns = [id for id in CATALOGUE if any(id in ids for ids in found.values())]
    with open(out / "table.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["tree", *columns, "problem"])
        for name, row in rows:
            marks = [found[name][id]["severity"] if id in found[name] else "" for id in columns]
            table.writerow([name, *marks, row.get("failed", "")])
    esc = html.escape
    head = "".join(f"<th>{id}</th>" for id in columns)
    lines = []
    for name, row in rows:
        cells = "".join(
            f'<td title="{esc(found[name][id]["sentence"])}">'
            f'<a href="{esc(name)}.html#{id}">{found[name][id]["severity"][0].upper()}</a></td>'
            if id in found[name]
            else "<td></td>"
            for id in columns
        )
        note = esc(row.get("failed", ""))
        lines.append(
            f'<tr><th><a href="{esc(name)}.html">{esc(name)}</a></th>{cells}<td>{note}</td></tr>'
        )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Batch</title>'
        f"<style>{STYLE} td,th{{padding:.1em .4em;text-align:left}}</style>"
        f"<h1>{len(rows)} trees</h1><table><tr><th>tree</th>{head}<th></th></tr>{''.join(lines)}</table>"
        f"{_unusual(found)}</html>\n"
    )
    (out / "index.html").write_text(page, encoding="utf-8")


def _unusual(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Trees that share a defect few others have, with the same symptom, side by side."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, ids in found.items():
        for id, finding in ids.items():
            groups.setdefault((id, finding["sentence"]), []).append(name)
    few = max(2, len(found) // 5)
    rows = [
        f"<li>{html.escape(id)}: {html.escape(sentence)}<br>{html.escape(', '.join(names))}</li>"
        for (id, sentence), names in groups.items()
        if 2 <= len(names) <= few
    ]
    return f"<h2>Unusual defects shared</h2><ul>{''.join(rows) or '<li>none</li>'}</ul>"
