"""`report`: a trace as one self-contained HTML page. Records travel column by column, each column as narrow as its
values allow and its bytes regrouped, gzipped and in base64: the page decodes them with what every browser has.

tools/trace/report/ holds the page; here is what goes into it.
"""

from __future__ import annotations

import argparse
import base64
import json
import zlib
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tools.trace import trace as normaliser
from tools.trace.check import judge
from tools.trace.record import Progress
from tools.trace.requests import STAGES, STEPS, Requests
from tools.trace.show import loss_lines
from tools.trace.stats import measure
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

PAGE = Path(__file__).resolve().parent / "report"
SCRIPTS = ("data.js", "model.js", "timeline.js", "memory.js", "charts.js", "table.js", "main.js")
LEVEL = 6  # of compression, for traces up to BIG
BIG = 200_000  # events; beyond, speed counts more than size
SAFE = 1 << 53  # integers up to here are exact in a browser
VIOLATIONS = 50  # of one rule that go into the page


class Columns:
    """Arrays on their way into the page."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: np.ndarray) -> dict[str, Any]:
        """Appends unsigned numbers; returns how the page finds them: width in bytes, offset, count, base value.

        Numbers beyond what a browser holds exactly go into a list, and the column indexes it.
        """
        if len(values) == 0:
            return {"w": 0, "n": 0, "b": 0}
        low, high = int(values.min()), int(values.max())
        if high >= SAFE or high - low >= 1 << 32:
            distinct, inverse = np.unique(values, return_inverse=True)
            column = self.add(inverse.astype(np.uint64))
            return column | {"list": [f"{v:x}" for v in distinct.tolist()]}
        if low == high:
            return {"w": 0, "n": len(values), "b": low}
        span = high - low
        width = 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4
        narrow = (values - np.uint64(low)).astype(f"<u{width}")
        data = (
            narrow.view(np.uint8).reshape(-1, width).T.tobytes()
        )  # all low bytes, then all next ones
        place = {"w": width, "n": len(values), "b": low, "o": self.size}
        self.parts.append(data)
        self.size += len(data)
        return place

    def packed(self, level: int) -> str:
        """Everything, compressed, as base64."""
        pack = zlib.compressobj(level, zlib.DEFLATED, 31)
        data = b"".join(pack.compress(p) for p in self.parts) + pack.flush()
        return base64.b64encode(data).decode()


def _events(trace: Trace, columns: Columns) -> dict[str, Any]:
    """The records, as columns."""
    records = trace.records
    time = records["time"]
    start = int(time[0]) if len(time) else 0
    steps = np.diff(time, prepend=time[:1]) if len(time) else time
    pids = np.unique(records["pid"])
    events = np.ascontiguousarray(records["event"])
    out: dict[str, Any] = {
        "count": len(records),
        "start": start,
        "time": columns.add(steps),
        "event": columns.add(events.astype(np.uint64)),
        "hart": columns.add(records["hart"].astype(np.uint64)),
        "pid": columns.add(np.searchsorted(pids, records["pid"]).astype(np.uint64)),
        "emitted": columns.add(trace.emitted.astype(np.uint64)),
        "pids": pids.tolist(),
        "args": {},
    }
    words = records.view("<u8").reshape(-1, 8)
    for event in np.flatnonzero(np.bincount(events)).tolist() if len(events) else []:
        mine = words[np.flatnonzero(events == event)]
        info = trace.table.events.get(event)
        slots = info.slots if info else 5
        out["args"][event] = [
            columns.add(np.ascontiguousarray(mine[:, 3 + s])) for s in range(slots)
        ]
    return out


def _symbols(trace: Trace) -> dict[str, str]:
    """Names of the kernel addresses that occur."""
    found: dict[str, str] = {}
    for info in trace.table.events.values():
        for slot, (_, kind) in enumerate(info.arguments):
            if kind == "symbol":
                at = np.flatnonzero(trace.records["event"] == info.id)
                for value in np.unique(trace.records["args"][at, slot]).tolist():
                    found[f"{value:x}"] = trace.symbols.name(value)
    return found


def _history(trace: Trace) -> dict[int, list[tuple[int, int]]]:
    """Names of processes over time: pid -> (index of the record, index of the name)."""
    trace.names  # noqa: B018  (makes the history)
    return {pid: rows for pid, rows in trace.name_history.items() if pid}


def _requests(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "number": q.number,
            "client": q.client,
            "server": q.server,
            "size": q.size,
            "state": q.state,
            "outcome": q.outcome,
            "steps": q.steps,
        }
        for q in Requests(trace).all
    ]


def _verdicts(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "rule": v.rule.name,
            "demand": v.rule.demand,
            "word": v.word,
            "reason": v.undecided,
            "count": len(v.violations),
            "violations": [
                {"text": x.text, "records": x.records} for x in v.violations[:VIOLATIONS]
            ],
        }
        for v in judge(trace)
    ]


def contents(trace: Trace) -> tuple[dict[str, Any], str]:
    """What the page shows: a description, and the packed columns."""
    columns = Columns()
    table = {
        info.id: {
            "name": info.name,
            "category": info.category,
            "slots": info.slots,
            "args": [list(a) for a in info.arguments],
        }
        for info in trace.table.events.values()
    }
    numbers = measure(trace)
    description = {
        "about": trace.about,
        "frequency": trace.frequency,
        "table": table,
        "values": trace.table.values,
        "names": trace.names,
        "history": _history(trace),
        "processes": [
            [int(p["pid"]), int(p["parent"]), int(p["root"]), int(p["time"])]
            for p in trace.processes
        ],
        "symbols": _symbols(trace),
        "requests": _requests(trace),
        "steps": STEPS,
        "stages": STAGES,
        "stats": numbers,
        "verdicts": _verdicts(trace),
        "losses": [[x.hart, x.count, x.after, x.before] for x in trace.losses],
        "notes": loss_lines(trace)[:20],
        "events": _events(trace, columns),
    }
    return description, columns.packed(LEVEL if len(trace.records) <= BIG else 1)


def page(trace: Trace, title: str) -> str:
    """The HTML."""
    description, packed = contents(trace)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((PAGE / "template.html").read_text(encoding="utf-8"))
    text = json.dumps(description, separators=(",", ":"), default=int)
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return template.render(
        title=title,
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        description=Markup(text.replace("<", "\\u003c")),
        packed=packed,
    )


def title_of(trace: Trace, path: Path) -> str:
    """What the run was: the commands typed, or the file's name."""
    commands = trace.about.get("commands")
    return "; ".join(commands) if commands else path.name


def run(options: argparse.Namespace) -> int:
    """The subcommand."""
    progress = Progress()
    progress.say("reading")
    trace = normaliser.load(options.trace)
    if not len(trace.records):
        raise TraceError(f"{options.trace}: no events to draw")
    progress.say(f"drawing {len(trace.records)} events")
    text = page(trace, options.title or title_of(trace, options.trace))
    output = options.output or options.trace.with_suffix(".html")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{output}: {error.strerror}") from None
    progress.end()
    print(f"{output}: {len(trace.records)} events, {len(text) / 1e6:.1f} MB")
    return 0
