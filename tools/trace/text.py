"""Records as text: the aligned lines of `show`, JSON and CSV. Works column by column, an event at a time, since
formatting record by record would be several times slower.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Iterator

import numpy as np

from tools.guest.sv39 import C, R, S, U, W, X
from tools.trace.table import EventInfo
from tools.trace.trace import Trace

BLOCK = 10_000  # records formatted at a time
HEADING = "        time  hart   pid program         event         arguments"
PTE_LETTERS = ((R, "r"), (W, "w"), (X, "x"), (U, "u"), (S, "S"), (C, "C"))


def pte_text(bits: int) -> str:
    """Page-table entry bits as shmtrace prints them: rw-u-C."""
    return "".join(letter if bits & bit else "-" for bit, letter in PTE_LETTERS)


def characters(slots: np.ndarray) -> str:
    """Text packed into argument slots."""
    raw: bytes = slots.tobytes().split(b"\0")[0]
    return "".join(chr(c) if 32 <= c < 127 else "." for c in raw)


def _through(values: np.ndarray, convert: Callable[[int], str]) -> list[str]:
    """Converts each distinct value once."""
    distinct, inverse = np.unique(values, return_inverse=True)
    texts = np.array([convert(int(v)) for v in distinct], object)
    return list(texts[inverse])


class Formatter:
    """Text for the records of one trace."""

    def __init__(self, trace: Trace):
        self.trace = trace
        self.us = trace.frequency // 1_000_000 or 1  # ticks in a microsecond

    def column(self, info: EventInfo, slot: int, indices: np.ndarray) -> list[Any]:
        """One argument of records of one event: numbers for counts and sizes, else text."""
        trace, kind = self.trace, info.arguments[slot][1]
        args = trace.records["args"]
        values = args[indices, slot]
        if kind in ("n", "bytes"):
            return list(values.tolist())
        if kind == "int":
            return list(values.astype(np.int64).tolist())
        if kind == "pid":
            pids = values.astype(np.int32)
            names = trace.programs_of(pids, indices).tolist()
            return [f"{p}:{trace.names[n]}" if p else "0" for p, n in zip(pids.tolist(), names)]
        if kind == "text":
            return [f'"{characters(args[i, slot : info.slots])}"' for i in indices.tolist()]
        if kind == "symbol":
            return _through(values, trace.symbols.name)
        if kind == "pte":
            return _through(values, pte_text)
        if kind == "ticks":
            return [f"{v // self.us}.{v % self.us * 10 // self.us}us" for v in values.tolist()]
        names_of = trace.table.values.get(kind)
        if names_of is not None:
            known = names_of
            return _through(values, lambda v: known.get(v, f"{v:#x}"))
        return [hex(v) for v in values.tolist()]

    def lines(self, indices: np.ndarray) -> Iterator[str]:
        """Blocks of aligned lines for the records at `indices`, each line with its newline."""
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            out = np.empty(len(block), object)
            events = self.trace.records["event"][block]
            for event in np.unique(events).tolist():
                at = np.flatnonzero(events == event)
                out[at] = self._event_lines(int(event), block[at])
            yield "".join(out.tolist())

    def _event_lines(self, event: int, indices: np.ndarray) -> list[str]:
        trace = self.trace
        r = trace.records[indices]
        info = trace.table.events.get(event)
        time = r["time"] // np.uint64(self.us)
        million = np.uint64(1_000_000)
        columns: list[list[Any]] = [
            (time // million).tolist(),
            (time % million).tolist(),
            r["hart"].tolist(),
            r["pid"].tolist(),
            [trace.names[n] for n in trace.programs[indices].tolist()],
        ]
        line = f"%5d.%06d%6d%6d %-15s {info.name if info else f'unknown {event}':<13}"
        slots = range(len(info.arguments)) if info else range(r["args"].shape[1])
        for slot in slots:
            name = info.arguments[slot][0] if info else f"a{slot}"
            line += f" {name}=%s"
            columns.append(
                self.column(info, slot, indices)
                if info
                else [hex(v) for v in r["args"][:, slot].tolist()]
            )
        line += "\n"
        return [line % row for row in zip(*columns)]

    def dicts(self, indices: np.ndarray) -> Iterator[dict[str, Any]]:
        """Each record as a dictionary; arguments as numbers, or text where they have names."""
        trace = self.trace
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            rows = trace.records[block]
            columns: dict[int, tuple[np.ndarray, list[list[Any]]]] = {}
            place = np.zeros(len(block), np.int64)
            for event in np.unique(rows["event"]).tolist():
                at = np.flatnonzero(rows["event"] == event)
                place[at] = np.arange(len(at))
                columns[event] = at, self._values(event, block[at])
            names = [trace.names[n] for n in trace.programs[block].tolist()]
            fixed = zip(rows["time"].tolist(), rows["sequence"].tolist(), rows["hart"].tolist())
            for i, (time, sequence, hart) in enumerate(fixed):
                event = int(rows["event"][i])
                info = trace.table.events.get(event)
                keys = [a for a, _ in info.arguments] if info else [f"a{k}" for k in range(5)]
                values = columns[event][1]
                yield {
                    "time": time / trace.frequency,
                    "hart": hart,
                    "pid": int(rows["pid"][i]),
                    "program": names[i],
                    "event": info.name if info else f"unknown {event}",
                    "sequence": sequence,
                    "args": {k: values[s][place[i]] for s, k in enumerate(keys)},
                }

    def _values(self, event: int, indices: np.ndarray) -> list[list[Any]]:
        info = self.trace.table.events.get(event)
        if info is None:
            return [list(c) for c in self.trace.records["args"][indices].T.tolist()]
        columns: list[list[Any]] = []
        for slot, (_, kind) in enumerate(info.arguments):
            if kind == "pid":
                columns.append(self.trace.records["args"][indices, slot].astype(np.int32).tolist())
            elif kind == "ticks":
                columns.append(self.trace.records["args"][indices, slot].tolist())
            elif kind == "text":
                columns.append([t[1:-1] for t in self.column(info, slot, indices)])
            else:
                columns.append(self.column(info, slot, indices))
        return columns

    def json(self, indices: np.ndarray) -> Iterator[str]:
        """One JSON object a line."""
        for row in self.dicts(indices):
            yield json.dumps(row) + "\n"

    def csv(self, indices: np.ndarray) -> Iterator[str]:
        """Comma-separated lines; the arguments as name=value in the last five fields."""
        yield "time,hart,pid,program,event,argument1,argument2,argument3,argument4,argument5\n"
        for row in self.dicts(indices):
            arguments = [f"{k}={v}" for k, v in row["args"].items()]
            arguments += [""] * (5 - len(arguments))
            fixed = [f"{row['time']:.7f}", str(row["hart"]), str(row["pid"]), row["program"]]
            cells = (*fixed, row["event"], *arguments)
            yield ",".join(_cell(c) for c in cells) + "\n"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text
