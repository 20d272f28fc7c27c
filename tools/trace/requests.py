"""The life of each crypto request, put together from its events: written, queued, taken, mapped, begun, answered,
unmapped, released. One server works on one request at a time, so what it does belongs to the one it took last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.trace.trace import Trace

INIT = 1
STEPS = (
    ("written", "the client has filled in the request"),
    ("enqueue", "crypto_op: the request is in the queue"),
    ("dequeue", "the server takes it"),
    ("map", "the client's pages are mapped into the server"),
    ("begin", "the server has checked the header and works"),
    ("state", "the flag is raised: DONE or ERROR"),
    ("unmap", "the server gives the pages back"),
    ("complete", "the client is released"),
)
STAGES = (
    ("enqueue", "dequeue"),
    ("dequeue", "map"),
    ("map", "state"),
    ("state", "unmap"),
    ("unmap", "complete"),
    ("enqueue", "complete"),
)


@dataclass
class Request:
    """One request. `steps` are indices of records by step; missing ones did not happen or are not in the trace."""

    number: int
    client: int
    server: int = 0
    size: int = 0
    client_va: int = 0
    server_va: int = 0
    state: int = 0
    type: int = 0
    outcome: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)  # further records of it

    @property
    def records(self) -> list[int]:
        """Every record that belongs to it, in order."""
        return sorted([*self.steps.values(), *self.others])


class Requests:
    """All requests of a trace, in the order they were queued."""

    def __init__(self, trace: Trace):
        self.trace = trace
        self.all: list[Request] = []
        self._open: dict[int, Request] = {}  # by number
        self._serving: dict[int, Request] = {}  # by the server's pid
        self._written: dict[int, int] = {}  # by client: its latest INIT
        ids = {
            trace.table.id(n): n
            for n in ("enqueue", "dequeue", "map", "state", "unmap", "complete")
        }
        indices = trace.of(*ids.values())
        rows = trace.records[indices]
        for i, event, pid, args in zip(
            indices.tolist(), rows["event"].tolist(), rows["pid"].tolist(), rows["args"].tolist()
        ):
            name = ids[event]
            named = [a for a, _ in trace.table.events[event].arguments]
            getattr(self, "_" + name)(i, pid, dict(zip(named, args)))

    def _step(self, request: Request, step: str, i: int) -> None:
        if step in request.steps:
            request.others.append(i)
        else:
            request.steps[step] = i

    def _new(self, number: int, client: int, a: dict[str, int]) -> Request:
        request = Request(number, client, size=a["size"], client_va=a["va"])
        self.all.append(request)
        self._open[number] = request
        return request

    def _enqueue(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._new(a["request"], pid, a)
        if pid in self._written:
            self._step(request, "written", self._written.pop(pid))
        self._step(request, "enqueue", i)

    def _dequeue(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._open.get(a["request"]) or self._new(a["request"], a["client"], a)
        request.server = pid
        self._serving[pid] = request
        self._step(request, "dequeue", i)

    def _map(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._serving.get(pid)
        if request is not None:
            request.server_va = request.server_va or a["to"]
            self._step(request, "map", i)

    def _state(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._serving.get(pid)
        if request is None:
            if a["state"] == INIT:
                self._written[pid] = i
            return
        request.type = a["type"]
        request.state = a["state"]
        self._step(request, "begin" if a["state"] == INIT else "state", i)

    def _unmap(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._serving.get(pid)
        if request is not None:
            self._step(request, "unmap", i)

    def _complete(self, i: int, pid: int, a: dict[str, int]) -> None:
        request = self._open.pop(a["request"], None)
        if request is None:
            return
        request.outcome = a["outcome"]
        self._step(request, "complete", i)
        if self._serving.get(request.server) is request:
            del self._serving[request.server]

    def latencies(self, first: str, last: str) -> np.ndarray:
        """Ticks from one step to another, for the requests that have both."""
        time = self.trace.records["time"]
        pairs = [
            (r.steps[first], r.steps[last])
            for r in self.all
            if first in r.steps and last in r.steps
        ]
        if not pairs:
            return np.zeros(0, np.int64)
        at = np.array(pairs)
        return time[at[:, 1]].astype(np.int64) - time[at[:, 0]].astype(np.int64)
