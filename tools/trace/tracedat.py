"""A trace as trace.dat, the file of trace-cmd and KernelShark, version 6 (trace-cmd.dat.v6(5)): one buffer for each
hart, cut into pages as Linux's ring buffer is, each event's format and print text made from the event table.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Iterator

import numpy as np

from tools.trace.table import ARGS, EventInfo
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

PAGE = 4096
PAGE_HEADER = struct.Struct("<QQ")  # time of the first event, bytes used and flags
MISSED = 1 << 31  # flag: events were lost before this page
COMMON = struct.Struct("<HBBi")  # type, flags, preemption depth, pid
FIRST_ID = 100  # ids below are Linux's own
EXTEND = 30  # type_len of a time extension
DELTA_BITS = 27
WORDS = (COMMON.size + 8 * ARGS) // 4
EVENT_SIZE = 4 + 4 * WORDS
TICKS_NS = 1_000_000_000
EXTENDED = 27 + 32  # bits of a time difference with an extension; beyond, a page begins
LATEST = 1 << 63  # ns
HIGHEST = (1 << 16) - 1 - FIRST_ID

PAGE_TEXT = """\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;
"""
EVENT_TEXT = """# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
COMMON_TEXT = """\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""


def _argument(trace: Trace, name: str, kind: str) -> tuple[str, str]:
    """(printf conversion, C expression) of one argument."""
    field = f"REC->{name}"
    values = trace.table.values.get(kind)
    if values:
        rows = ", ".join(f'{{ {value}, "{text}" }}' for value, text in sorted(values.items()))
        return "%s", f"__print_symbolic({field}, {rows})"
    if kind in ("n", "bytes", "ticks"):
        return "%llu", field
    if kind in ("int", "pid"):
        return "%lld", field
    if kind == "text":
        return "%s", field
    return "0x%llx", field


def format_text(trace: Trace, info: EventInfo) -> str:
    """The `format` file Linux would show for an event."""
    fields, shown, expressions = "", [], []
    for slot, (name, kind) in enumerate(info.arguments):
        offset = COMMON.size + 8 * slot
        if kind == "text":
            size = 8 * (info.slots - slot)
            fields += f"\tfield:char {name}[{size}];\toffset:{offset};\tsize:{size};\tsigned:0;\n"
        else:
            signed = int(kind in ("int", "pid"))
            type_ = "s64" if signed else "u64"
            fields += f"\tfield:{type_} {name};\toffset:{offset};\tsize:8;\tsigned:{signed};\n"
        conversion, expression = _argument(trace, name, kind)
        shown.append(f"{name}={conversion}")
        expressions.append(expression)
    text = f"name: {info.name}\nID: {FIRST_ID + info.id}\nformat:\n{COMMON_TEXT}\n{fields}\n"
    return text + f'print fmt: "{" ".join(shown)}"' + "".join(f", {e}" for e in expressions) + "\n"


def _pages(trace: Trace, indices: np.ndarray, losses: list[int]) -> Iterator[bytes]:
    """The buffer of one hart, page by page; a page begins anew where records were lost."""
    rows = trace.records[indices]
    scale = TICKS_NS // trace.frequency
    lost_before = set(losses)
    data, first, last, flags = b"", 0, 0, 0
    columns = zip(rows["time"].tolist(), rows["event"].tolist(), rows["pid"].tolist(), rows["args"])
    for ticks, event, pid, args in columns:
        now = ticks * scale
        delta = now - last if data else 0
        far = bool(delta >> EXTENDED)
        extension = b""
        if delta >> DELTA_BITS and not far:
            low = delta & (1 << DELTA_BITS) - 1
            extension = struct.pack("<II", low << 5 | EXTEND, delta >> DELTA_BITS)
            delta = 0
        gap = ticks in lost_before
        if gap or far or len(data) + len(extension) + EVENT_SIZE > PAGE - PAGE_HEADER.size:
            if data:
                yield _page(first, data, flags)
            data, extension, delta, flags = b"", b"", 0, MISSED if gap else 0
            lost_before.discard(ticks)
        if not data:
            first = now
        head = struct.pack("<I", delta << 5 | WORDS)
        data += extension + head + COMMON.pack(FIRST_ID + event, 0, 0, pid) + args.tobytes()
        last = now
    if data:
        yield _page(first, data, flags)


def _page(first: int, data: bytes, flags: int) -> bytes:
    page = PAGE_HEADER.pack(first, len(data) | flags) + data
    return page + bytes(PAGE - len(page))


def _sized(data: bytes, form: str = "<Q") -> bytes:
    return struct.pack(form, len(data)) + data


def _header(trace: Trace, harts: int) -> bytes:
    """Everything before the buffers' places."""
    known = dict(trace.table.events)
    for i in np.unique(trace.records["event"]).tolist():
        plain = tuple((f"a{n}", "hex") for n in range(ARGS))
        known.setdefault(i, EventInfo(i, f"unknown_{i}", "unknown", 0, ARGS, plain))
    systems: dict[str, list[EventInfo]] = {}
    for info in known.values():
        systems.setdefault("xv6_" + info.category, []).append(info)
    out = b"\x17\x08\x44tracing" + b"6\0" + bytes([0, 8]) + struct.pack("<I", PAGE)
    out += b"header_page\0" + _sized(PAGE_TEXT.encode())
    out += b"header_event\0" + _sized(EVENT_TEXT.encode())
    out += struct.pack("<I", 0) + struct.pack("<I", len(systems))
    for system, events in systems.items():
        out += system.encode() + b"\0" + struct.pack("<I", len(events))
        for info in events:
            out += _sized(format_text(trace, info).encode())
    symbols = zip(trace.symbols.addresses.tolist(), trace.symbols.names)
    out += _sized("".join(f"{a:016x} T {name}\n" for a, name in symbols).encode(), "<I")
    out += _sized(b"", "<I")
    last = max(0, len(trace.records) - 1)
    names = "".join(f"{pid} {trace.name_at(pid, last)}\n" for pid in trace.pids)
    out += _sized(names.encode())
    return out + struct.pack("<I", harts) + b"options  \0" + struct.pack("<H", 0) + b"flyrecord\0"


def export(trace: Trace, path: Path) -> int:
    """Writes the file; returns how many events. Raises TraceError for a trace that the format cannot hold."""
    if len(trace.records):
        latest, highest = int(trace.records["time"].max()), int(trace.records["event"].max())
        if latest * (TICKS_NS // trace.frequency) >= LATEST or highest > HIGHEST:
            what = f"time {latest:#x}" if highest <= HIGHEST else f"event number {highest}"
            raise TraceError(f"{path}: trace.dat cannot hold {what}; is the trace damaged?")
    harts = int(trace.records["hart"].max()) + 1 if len(trace.records) else 1
    header = _header(trace, harts)
    start = -(-(len(header) + 16 * harts) // PAGE) * PAGE
    places, count = [], 0
    with open(path, "wb") as out:
        out.write(bytes(start))
        for hart in range(harts):
            begin = out.tell()
            mine = np.flatnonzero((trace.records["hart"] == hart) & trace.emitted)
            count += len(mine)
            losses = [loss.before for loss in trace.losses if loss.hart == hart]
            _write_pages(out, trace, mine, losses)
            places.append((begin, out.tell() - begin))
        out.seek(0)
        out.write(header + b"".join(struct.pack("<QQ", *place) for place in places))
    return count


def _write_pages(out: BinaryIO, trace: Trace, indices: np.ndarray, losses: list[int]) -> None:
    for page in _pages(trace, indices, losses):
        out.write(page)
