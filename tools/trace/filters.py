"""Which records a user asked for: the filters that show, export and top share."""

from __future__ import annotations

import argparse

import numpy as np

from tools.trace.requests import Requests
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError


def seconds(text: str) -> float:
    """A moment on the command line; raises ArgumentTypeError for what is none."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: want seconds since the guest's start")
    return value


def address(text: str) -> int:
    """A physical address on the command line; raises ArgumentTypeError for what is none."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text}: want an address such as 0x80001000")
    return value


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Declares the filter options."""
    group = parser.add_argument_group("only records")
    group.add_argument("-e", "--events", metavar="LIST", help="of these events or categories")
    group.add_argument("-p", "--pid", type=int, help="by this process, or that name it")
    group.add_argument("--program", metavar="NAME", help="by processes running this program")
    group.add_argument("--hart", type=int, help="of this hart")
    group.add_argument(
        "--from", dest="start", type=seconds, metavar="S", help="from this second on"
    )
    group.add_argument("--to", dest="end", type=seconds, metavar="S", help="up to this second")
    group.add_argument("--frame", type=address, help="about this physical address")
    group.add_argument("--request", type=int, metavar="N", help="of this crypto request")


def _mentions(trace: Trace, kinds: tuple[str, ...], low: int, high: int) -> np.ndarray:
    """Records with an argument of one of the kinds in [low, high)."""
    keep = np.zeros(len(trace.records), bool)
    for info in trace.table.events.values():
        slots = [s for s, (_, kind) in enumerate(info.arguments) if kind in kinds]
        if not slots:
            continue
        at = np.flatnonzero(trace.records["event"] == info.id)
        for slot in slots:
            values = trace.records["args"][at, slot]
            keep[at[(values >= np.uint64(low)) & (values < np.uint64(high))]] = True
    return keep


def selected(trace: Trace, options: argparse.Namespace) -> np.ndarray:
    """Indices of the records that pass every filter given. Raises TraceError for a filter that cannot be."""
    records = trace.records
    keep = np.ones(len(records), bool)
    if options.events:
        try:
            keep &= np.isin(records["event"], list(trace.table.select(options.events)))
        except ValueError as error:
            raise TraceError(str(error)) from None
    if options.pid is not None:
        keep &= (records["pid"] == options.pid) | _mentions(
            trace, ("pid",), options.pid, options.pid + 1
        )
    if options.program is not None:
        names = trace.names
        if options.program not in names:
            raise TraceError(
                f"{options.program}: no such program in this trace ({', '.join(names[2:])})"
            )
        keep &= trace.programs == names.index(options.program)
    if options.hart is not None:
        keep &= records["hart"] == options.hart
    if options.start is not None:
        keep &= records["time"] >= np.uint64(options.start * trace.frequency)
    if options.end is not None:
        keep &= records["time"] <= np.uint64(options.end * trace.frequency)
    if options.frame is not None:
        base = options.frame & ~0xFFF
        keep &= _mentions(trace, ("frame",), base, base + 0x1000)
    if options.request is not None:
        every = Requests(trace).all
        mine = [i for r in every if r.number == options.request for i in r.records]
        if not mine:
            known = f" (it has {every[0].number} to {every[-1].number})" if every else ""
            raise TraceError(
                f"no request {options.request} in this trace{known or ', nor any other'}"
            )
        only = np.zeros(len(records), bool)
        only[mine] = True
        keep &= only
    return np.flatnonzero(keep)
