"""`export`: a trace in the formats that other tools read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from tools.trace import ctf, perfetto
from tools.trace import trace as normaliser
from tools.trace import tracedat
from tools.trace.record import Progress
from tools.trace.text import Formatter
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError


def _csv(trace: Trace, path: str) -> int:
    indices = np.flatnonzero(trace.emitted)
    with open(path, "w", encoding="utf-8") as out:
        for block in Formatter(trace).csv(indices):
            out.write(block)
    return len(indices)


def run(options: argparse.Namespace) -> int:
    """The subcommand."""
    progress = Progress()
    progress.say("reading")
    trace = normaliser.load(options.trace)
    done = False
    formats: tuple[tuple[Any, Callable[[Trace, Any], int]], ...] = (
        (options.ctf, ctf.export),
        (options.trace_dat, tracedat.export),
        (options.perfetto, perfetto.export),
        (options.csv, _csv),
    )
    for path, write in formats:
        if path is None:
            continue
        progress.say(f"writing {len(trace.records)} events to {path}")
        try:
            count = write(trace, path)
        except OSError as error:
            progress.end()
            raise TraceError(f"{path}: {error.strerror}") from None
        progress.end()
        print(f"{path}: {count} events")
        done = True
    if not done:
        raise TraceError("which format? --ctf DIR, --trace-dat FILE, --perfetto FILE or --csv FILE")
    return 0
