"""Writes what the rings hold as a trace file: chunks of tag, length and bytes (kernel/trace.h)."""

from __future__ import annotations

import struct
from typing import Iterable

from tools.guest.events import Event
from tools.guest.kernel import Kernel
from tools.guest.memory import GuestError
from tools.guest.processes import Processes
from tools.guest.ring import RECORD

MAGIC = struct.pack("<Q", 0x3143525436767858)  # TRACE_FILE_MAGIC


def save(path: str, processes: Processes, events: list[Event], lost: dict[int, int]) -> None:
    """`events` in order of time; `lost`: hart -> records that are not among them."""
    kernel = processes.kernel
    first = events[0].time if events else 0
    people = (
        struct.pack(
            "<QQQii16s",
            first,
            p.root or 0,
            p.size or 0,
            p.pid,
            p.parent.pid if p.parent else 0,
            p.name.encode(),
        )
        for p in processes.used
    )
    records = (RECORD.pack(e.time, e.sequence, e.event, e.hart, e.pid, *e.args) for e in events)
    mask = struct.pack("<QQ", first, kernel.number("trace_mask") or 0)
    losses = (struct.pack("<QQ", hart, n) for hart, n in lost.items() if n)
    try:
        with open(path, "wb") as f:
            f.write(MAGIC)
            for tag, parts in (
                ("events", [_table(kernel, "trace_event_table")]),
                ("values", [_table(kernel, "trace_value_table")]),
                ("process", people),
                ("mask", [mask]),
                ("records", records),
                ("lost", losses),
            ):
                f.write(_chunk(tag, parts))
    except OSError as e:
        raise GuestError(f"{path}: {e.strerror}") from None


def _chunk(tag: str, parts: Iterable[bytes]) -> bytes:
    body = b"".join(parts)
    body += bytes(-len(body) % 8)
    return struct.pack("<8sQ", tag.encode(), len(body)) + body


def _table(kernel: Kernel, name: str) -> bytes:
    found = kernel.elf.variable(name)
    return kernel.elf.bytes_at(found[0], found[1].size) if found else b""
