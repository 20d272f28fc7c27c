"""Traces of a guest: recorded, read, judged, exported and drawn.

    from tools.trace.trace import load
    trace = load("run.xt")
    for row in trace.records[trace.of("enqueue")]: ...

table.py and tracefile.py know how a trace is stored, trace.py normalises it (order, losses, names over time),
and everything else is an independent view of a `Trace`. Relies on tools/guest for reading guests.
"""
