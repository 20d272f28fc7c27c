"""Traces built by hand: the real table of events from the kernel's ELF file, and records written by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.harness import tree
from tools.guest.elf import Elf
from tools.trace import trace as normaliser
from tools.trace import tracefile
from tools.trace.table import ARGS, BOOT, RECORD, Table
from tools.trace.trace import Trace
from tools.trace.tracefile import LOSS, MASK, PROCESS, Contents, Symbols

DONE, ERROR, INIT = 2, 3, 1
DECRYPT = 2


@lru_cache
def table() -> Table:
    """The table of the kernel under test."""
    return Table.of(Elf(str(tree.KERNEL)))


class Story:
    """A trace in the making. Each call is an event: story.map(src=3, dst=2, ..., pid=2, hart=1).

    Time goes on by `step` ticks at each event unless `at` says otherwise; arguments left out are 0.
    """

    def __init__(self, everything: bool = True, step: int = 100):
        self.rows: list[tuple[Any, ...]] = []
        self.processes: list[tuple[Any, ...]] = []
        self.sequence: dict[int, int] = {}
        self.now = 1000
        self.step = step
        self.recorded = (1 << 63) - 1 if everything else table().mask(BOOT)

    def __getattr__(self, name: str) -> Any:
        if name not in table().ids:
            raise AttributeError(name)

        def emit(pid: int = 0, hart: int = 0, at: int | None = None, **arguments: Any) -> "Story":
            info = table().events[table().ids[name]]
            args = np.zeros(ARGS, np.uint64)
            for key, value in arguments.items():
                slot = info.slot(key)
                if isinstance(value, str):
                    room = 8 * (info.slots - slot)
                    data = value.encode()[:room].ljust(room, b"\0")
                    args[slot : info.slots] = np.frombuffer(data, "<u8")
                else:
                    args[slot] = value & (1 << 64) - 1
            self.now = self.now + self.step if at is None else at
            self.sequence[hart] = self.sequence.get(hart, 0) + 1
            self.rows.append((self.now, self.sequence[hart], info.id, hart, pid, args))
            return self

        return emit

    def lose(self, n: int, hart: int = 0) -> "Story":
        """n records of a hart are lost here."""
        self.sequence[hart] = self.sequence.get(hart, 0) + n
        return self

    def process(self, pid: int, name: str, root: int = 0) -> "Story":
        """A process that was there when the recording began."""
        self.processes.append((self.now, root, 0, pid, 1, name.encode()))
        return self

    def request(
        self, number: int, client: int = 5, server: int = 2, state: int = DONE, va: int = 0x5010
    ) -> "Story":
        """A whole request, from the client's words to its release."""
        to = 0xC000 + va % 4096
        self.state(pid=client, op=va, state=INIT, type=DECRYPT, key=6, data=53)
        self.enqueue(pid=client, request=number, va=va, size=83, waiting=1)
        self.dequeue(pid=server, hart=1, request=number, client=client, va=va, size=83)
        self.resize(pid=server, hart=1, target=server, old=0xC000, new=0xD000)
        self.map(pid=server, hart=1, src=client, dst=server, **{"from": va}, to=to, size=83)
        self.state(pid=server, hart=1, op=to, state=INIT, type=DECRYPT, key=6, data=53)
        self.state(pid=server, hart=1, op=to, state=state, type=DECRYPT, key=6, data=53)
        self.resize(pid=server, hart=1, target=server, old=0xD000, new=0xC000)
        self.unmap(pid=server, hart=1, target=server, va=to, size=83)
        self.complete(pid=server, hart=1, request=number, client=client, outcome=1)
        return self

    @property
    def records(self) -> np.ndarray:
        """The records, in the order they were told."""
        return np.array(self.rows, RECORD)

    def contents(self) -> Contents:
        """As a trace file would hold them."""
        return Contents(
            table(),
            self.records,
            np.array(self.processes, PROCESS),
            np.zeros(0, LOSS),
            np.array([(0, self.recorded)], MASK),
            Symbols(),
            {"frequency": 10_000_000},
            [],
        )

    def trace(self) -> Trace:
        """Normalised."""
        return normaliser.normalise(self.contents())


def long_records(events: int) -> np.ndarray:
    """About so many records in the mixture of a real run, in order of time."""
    base = Story()
    base.request(0)
    for frame in range(0x8100_0000, 0x8100_8000, 4096):
        va = frame & 0xFFFF
        base.alloc(pid=5, frame=frame, free=1000)
        base.pte_set(pid=5, root=0x8200_0000, va=va, frame=frame, bits=0xD7)
        base.pte_clear(pid=5, root=0x8200_0000, va=va, frame=frame)
        base.free(pid=5, frame=frame, free=1001)
        base.sys_enter(pid=5, call=16, a0=1)
        base.sys_exit(pid=5, call=16, result=3)
        base.switch(previous=5, state=3, next=2)
        base.switch(hart=1, previous=2, state=2, next=0)
    one = base.records
    copies = -(-events // len(one))
    rows = np.tile(one, copies)
    n = np.repeat(np.arange(copies), len(one)).astype(np.uint64)
    rows["time"] += n * np.uint64(len(one) * 100 + 1000)
    for hart in (0, 1):
        mine = rows["hart"] == hart
        rows["sequence"][mine] = np.arange(1, mine.sum() + 1)
    for name in ("enqueue", "dequeue", "complete"):
        mine = rows["event"] == table().id(name)
        rows["args"][mine, 0] = n[mine]
    return rows


def written(story: Story, path: Path) -> Path:
    """The story as a trace file."""
    tracefile.write(
        path,
        table(),
        story.records,
        recorded=story.recorded,
        processes=np.array(story.processes, PROCESS),
    )
    return path
