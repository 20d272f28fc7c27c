"""The command line of `submit`: check, debug, batch. Exit status 0 no finding, 1 findings, 2 neither."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Callable, NoReturn

from tools.commandline import Parser
from tools.guest.memory import GuestError
from tools.submit import batch, debug, report
from tools.submit.check import Options, check
from tools.submit.findings import CATALOGUE, Report

FORMS: dict[str, Callable[[Report], str]] = {
    "json": report.as_json,
    "junit": report.junit,
    "html": report.as_html,
}


def fail(message: str) -> NoReturn:
    """Ends with one line and status 2."""
    print(f"submit: {message}", file=sys.stderr)
    sys.exit(2)


def ids(text: str) -> list[str]:
    """Catalogue ids separated by commas."""
    chosen = [part.strip().upper() for part in text.split(",") if part.strip()]
    for id in chosen:
        if id not in CATALOGUE:
            raise argparse.ArgumentTypeError(f"{id}: no such id (there are: {' '.join(CATALOGUE)})")
    return chosen


def count(low: int, high: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text}: want {low} to {high}")
        return int(text)

    return parse


def arguments() -> Parser:
    """The parser."""
    parser = Parser(prog="submit", description="Say what is wrong with a student's tree.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    one = commands.add_parser("check", help="say what is wrong with a tree")
    one.add_argument("tree", type=Path, help="folder or zip file")
    for form in (*FORMS, "gradescope"):
        one.add_argument(f"--{form}", nargs="?", const="-", metavar="FILE", help=f"write {form}")
    one.add_argument("--rubric", type=Path, help="ids and points, for --gradescope")
    one.add_argument(
        "--show-shape", action="store_true", help="print what is learned of the tree, and end"
    )
    one.add_argument(
        "--traces", type=Path, metavar="DIR", help="keep the recording of each finding"
    )
    at = commands.add_parser("debug", help="stop in gdb where a finding shows")
    at.add_argument("tree", type=Path)
    at.add_argument("finding", help="catalogue id")
    at.add_argument("--no-gdb", action="store_true", help="only say where the guest can be reached")
    many = commands.add_parser("batch", help="check every tree in a folder")
    many.add_argument("folder", type=Path)
    many.add_argument("--out", type=Path, required=True, help="folder for reports; resumable")
    many.add_argument("--sshlogin", action="append", default=[], help="passed to GNU parallel")
    many.add_argument("--trees", type=count(1, 64), default=1, help="trees at a time")
    for command in (one, at, many):
        command.add_argument("--only", type=ids, default=[], metavar="ID,...")
        command.add_argument("--jobs", type=count(1, 64), default=2, help="guests at a time")
        command.add_argument("--cpus", type=count(1, 8), default=1, help="harts of a guest")
        command.add_argument(
            "--timeout", type=count(1, 600), default=6, help="guest seconds one call may take"
        )
    return parser


def run_check(chosen: argparse.Namespace, options: Options) -> int:
    """One tree."""
    if chosen.gradescope and not chosen.rubric:
        fail("--gradescope needs --rubric FILE")
    options.traces, options.pictures = chosen.traces, bool(chosen.html)
    options.shape_only = chosen.show_shape
    result = check(chosen.tree, options)
    written = False
    for form, write in FORMS.items():
        target = getattr(chosen, form)
        if target:
            emit(target, write(result))
            written = written or target == "-"
    if chosen.gradescope:
        emit(chosen.gradescope, report.gradescope(result, chosen.rubric))
        written = written or chosen.gradescope == "-"
    if not written:
        print(report.shape_text(result) if chosen.show_shape else report.text(result), end="")
    return 1 if result.findings else 0


def emit(target: str, text: str) -> None:
    """Writes to a file, or to standard output for `-`."""
    if target == "-":
        print(text, end="")
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{target}: {error.strerror}")


def main() -> int:
    """Runs the command; the exit status."""
    chosen = arguments().parse_args()
    progress = sys.stderr.isatty()

    def say(text: str) -> None:
        if progress:
            print(f"\r\033[K{text}", end="\n" if not text else "", file=sys.stderr, flush=True)

    options = Options(chosen.only, chosen.cpus, chosen.jobs, float(chosen.timeout), say=say)
    try:
        if chosen.command == "debug":
            return debug.debug(chosen.tree, chosen.finding.upper(), options, not chosen.no_gdb)
        if chosen.command == "batch":
            return batch.run(chosen.folder, chosen.out, options, chosen.trees, chosen.sshlogin)
        return run_check(chosen, options)
    except GuestError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        fail("interrupted")
    finally:
        say("")
