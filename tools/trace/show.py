"""`show`: a trace as aligned text, JSON or CSV; of a file, or live from a guest."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from tools.trace import trace as normaliser
from tools.trace.filters import selected
from tools.trace.follow import Follower, symbols_of
from tools.trace.record import open_source
from tools.trace.table import RECORD
from tools.trace.text import HEADING, Formatter
from tools.trace.trace import Trace
from tools.trace.tracefile import LOSS, MASK, Contents, TraceError


def loss_lines(trace: Trace) -> list[str]:
    """What is missing from a trace, in words."""
    lines = list(trace.problems)
    for hart, count in sorted(trace.missing_before.items()):
        lines.append(f"hart {hart}: {count} events came before the first one here")
    for loss in trace.losses:
        start, end = trace.seconds(loss.after), trace.seconds(loss.before)
        lines.append(
            f"hart {loss.hart}: {loss.count} events lost between {start:.6f} and {end:.6f}"
        )
    return lines


def print_trace(trace: Trace, options: argparse.Namespace) -> None:
    """Prints the selected records in the form asked for."""
    indices = selected(trace, options)
    if not options.all:
        indices = indices[trace.emitted[indices]]
    formatter = Formatter(trace)
    if options.json:
        blocks = formatter.json(indices)
    elif options.csv:
        blocks = formatter.csv(indices)
    else:
        blocks = formatter.lines(indices)
        print(HEADING)
    for block in blocks:
        sys.stdout.write(block)


def follow(options: argparse.Namespace) -> int:
    """Prints events as a running guest emits them, until interrupted or the guest ends. A block is held back for
    one turn, so that all harts' records of its time are there when it is sorted.
    """
    source = open_source(options, must_run="--follow")
    follower = Follower(source.kernel, live=True)
    if not follower.find():
        raise TraceError("this guest has no trace rings (yet)")
    follower.skip()
    about = {"frequency": follower.frequency}
    symbols = symbols_of(source.kernel.elf)
    processes = follower.processes(0)
    held = np.zeros(0, RECORD)
    print(HEADING, flush=True)
    try:
        while True:
            lost = follower.lost
            fresh = follower.poll()
            if len(held):
                contents = Contents(
                    follower.table,
                    held,
                    processes,
                    np.zeros(0, LOSS),
                    np.zeros(0, MASK),
                    symbols,
                    about,
                    [],
                )
                trace = normaliser.normalise(contents)
                for block in Formatter(trace).lines(selected(trace, options)):
                    sys.stdout.write(block)
                sys.stdout.flush()
                processes = follower.processes(0)
            if follower.lost > lost:
                print(f"... {follower.lost - lost} events lost ...", flush=True)
            held = fresh
            if not len(held) and source.over():
                print("xv6-trace: the guest has ended", file=sys.stderr)
                return 0
            time.sleep(follower.pause)
    except KeyboardInterrupt:
        return 0


def run(options: argparse.Namespace) -> int:
    """The subcommand."""
    if options.follow:
        return follow(options)
    if options.trace is None:
        raise TraceError("which trace? give a file, or --follow for a running guest")
    trace = normaliser.load(options.trace)
    print_trace(trace, options)
    for line in loss_lines(trace):
        print(f"xv6-trace: {line}", file=sys.stderr)
    return 0
