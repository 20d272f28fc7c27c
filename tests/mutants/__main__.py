"""Command line of the mutants: python3 -m tests.mutants [--only-own] [--results FILE] [NAME...]; no name means all.

Each is planted in a copy of this tree and given to `submit check`, which must report its ids, in the functions it
changes, and nothing else. Exit status: 0 all as it must be, 1 some not, 2 usage.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests import mutants
from tests.harness import tree
from tools.commandline import Parser

SUBMIT = tree.ROOT / "tools" / "submit" / "submit"


def judge(name: str, result: dict[str, Any], places: list[mutants.Function]) -> list[str]:
    """What is not as it must be; empty if all is."""
    wanted, found = mutants.ids(name), {f["id"]: f for f in result["findings"]}
    wrong = [f"{id} is not found" for id in wanted if id not in found]
    for id, f in found.items():
        where = f"{f['function']} ({f['file']}:{f['line']})"
        if id not in wanted:
            wrong.append(f"{id} is found too, in {where}: {f['sentence']} {f['evidence'][:1]}")
        elif not any(p.holds(f["function"], f["file"], f["line"]) for p in places):
            wrong.append(f"{id} is found in {where}, not in {', '.join(p.name for p in places)}")
    return wrong


def check(name: str, own: bool) -> tuple[list[str], dict[str, Any]]:
    """Plants and checks one mutant: what is wrong, and the report. own: with its own ids' probes alone."""
    with tempfile.TemporaryDirectory(prefix="mutant.") as folder:
        planted = mutants.plant(name, Path(folder) / "tree")
        command = [str(SUBMIT), "check", str(planted), "--json", "--jobs", "1"]
        if own:
            command += ["--only", ",".join(mutants.ids(name))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 2:
            return [done.stderr.strip()], {"findings": [], "undecided": {}}
        report: dict[str, Any] = json.loads(done.stdout)
        return judge(name, report, mutants.functions(name, planted)), report


def main() -> int:
    """Runs what the command line names."""
    parser = Parser(prog="mutants", description="The checker against known mistakes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all if none is named")
    parser.add_argument("--only-own", action="store_true", help="run the mutant's own probes alone")
    parser.add_argument("--results", type=Path, help="append a line for each to this file")
    arguments = parser.parse_args()
    there = mutants.names()
    for name in arguments.names:
        if name not in there:
            parser.error(f"{name}: no such mutant; there are {' '.join(there)}")
    failed = 0
    for name in arguments.names or there:
        begun = time.monotonic()
        wrong, report = check(name, arguments.only_own)
        places = [f"{f['id']} {f['function']} {f['file']}:{f['line']}" for f in report["findings"]]
        took = time.monotonic() - begun
        verdict = "; ".join(wrong) if wrong else "OK"
        undecided = ",".join(report["undecided"])
        row = [
            name,
            f"{took:.0f} s",
            verdict,
            ", ".join(places),
            f"undecided: {undecided or 'none'}",
        ]
        print("\t".join(row), flush=True)
        if arguments.results:
            with open(arguments.results, "a", encoding="utf-8") as file:
                file.write("\t".join(row) + "\n")
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
