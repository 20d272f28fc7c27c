"""The command line of xv6-trace: subcommands, their options, and how failures are told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.commandline import Parser
from tools.guest.memory import GuestError
from tools.trace import check, export, filters, record, report, show, stats, top
from tools.trace.console import ROOT
from tools.trace.tracefile import TraceError


def _kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        type=Path,
        default=ROOT / "kernel" / "kernel",
        help="the guest's kernel (kernel/kernel)",
    )


def _record(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("record", help="boot a guest, type commands, keep every event")
    p.add_argument(
        "-o", "--output", type=Path, default=Path("trace.xt"), help="file to write (trace.xt)"
    )
    p.add_argument("-e", "--events", default="all", help="events or categories to record (all)")
    p.add_argument(
        "--cpus", type=int, default=3, choices=range(1, 9), metavar="N", help="harts (3)"
    )
    p.add_argument(
        "--ring", type=int, default=record.RING, metavar="N", help="records of a hart's ring"
    )
    p.add_argument("--mem", default="128M", help="memory (128M)")
    p.add_argument(
        "--image", type=Path, default=ROOT / "fs.img", help="disk; a copy is used (fs.img)"
    )
    p.add_argument("--console", action="store_true", help="show what the guest printed")
    _kernel(p)
    p.add_argument(
        "commands", nargs="*", metavar="GUEST COMMAND", help="after --; semicolons separate lines"
    )
    p.set_defaults(run=record.run_record)


def _attach(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("attach", help="record a running, halted or dead guest")
    p.add_argument(
        "-o", "--output", type=Path, default=Path("trace.xt"), help="file to write (trace.xt)"
    )
    p.add_argument("--seconds", type=float, help="stop after so long (a running guest: until ^C)")
    record.add_source(p)
    _kernel(p)
    p.set_defaults(run=record.run_attach)


def _show(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("show", help="print a trace")
    p.add_argument("trace", nargs="?", type=Path, help="trace file")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated values")
    p.add_argument("--all", action="store_true", help="also what held when the recording began")
    p.add_argument(
        "-f", "--follow", action="store_true", help="print a running guest's events as they come"
    )
    filters.add_filters(p)
    record.add_source(p)
    _kernel(p)
    p.set_defaults(run=show.run)


def _check(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("check", help="judge a trace by the rules of a sound run")
    p.add_argument("trace", nargs="?", type=Path, help="trace file")
    p.add_argument(
        "--rule", action="append", metavar="NAME", help="only this rule; may be repeated"
    )
    p.add_argument("--list", action="store_true", help="list the rules")
    p.add_argument("--json", action="store_true", help="one JSON object")
    p.set_defaults(run=check.run)


def _stats(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("stats", help="numbers of a trace, or of two side by side")
    p.add_argument("traces", nargs="+", metavar="TRACE", help="one trace file, or two to compare")
    p.add_argument("--json", action="store_true", help="a JSON list")
    p.set_defaults(run=stats.run)


def _export(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("export", help="write a trace in a standard format")
    p.add_argument("trace", type=Path, help="trace file")
    p.add_argument(
        "--ctf", type=Path, metavar="DIR", help="CTF 1.8, for babeltrace2 and Trace Compass"
    )
    p.add_argument("--trace-dat", type=Path, metavar="FILE", help="for trace-cmd and KernelShark")
    p.add_argument(
        "--perfetto", type=Path, metavar="FILE", help="JSON for ui.perfetto.dev, chrome://tracing"
    )
    p.add_argument("--csv", type=Path, metavar="FILE", help="comma-separated values")
    p.set_defaults(run=export.run)


def _report(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("report", help="draw a trace as one HTML page")
    p.add_argument("trace", type=Path, help="trace file")
    p.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help="page to write (beside the trace)"
    )
    p.add_argument("--title", help="heading of the page (the commands that ran)")
    p.set_defaults(run=report.run)


def _top(commands: "argparse._SubParsersAction[Parser]") -> None:
    p = commands.add_parser("top", help="live view of a running guest")
    p.add_argument("--once", action="store_true", help="print one picture and end")
    record.add_source(p)
    _kernel(p)
    p.set_defaults(run=top.run)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = Parser(
        prog="xv6-trace", description="Record, show, judge, export and draw traces of a guest."
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_record, _attach, _show, _check, _stats, _export, _report, _top):
        add(commands)
    return whole


@contextmanager
def terminable() -> Iterator[None]:
    """Meanwhile SIGTERM ends the program as ^C does: guests are stopped, files closed."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """Runs one subcommand; returns the exit status."""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    options = parser().parse_args(arguments)
    try:
        with terminable():
            status: int = options.run(options)
        sys.stdout.flush()
        return status
    except (TraceError, GuestError) as error:
        print(f"xv6-trace: {error}", file=sys.stderr)
        return 2
    except KeyError as error:  # views ask for events' arguments by name
        text = f"{error.args[0]}: its table of events is another version's, or damaged"
        print(f"xv6-trace: this trace cannot be judged for lack of {text}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has no place to go
        where = f"{error.filename}: " if error.filename else ""
        print(f"xv6-trace: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
