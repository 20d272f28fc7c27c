"""A trace as CTF 1.8 (Common Trace Format, diamon.org/ctf): a folder with the metadata text and a stream per hart,
which babeltrace2 and Trace Compass read.

What babeltrace2 2.0.4 wants is kept in mind: natural alignment, packets in order of time and sequence, no padding
and no open packet, every event id described, times that never go back, losses as a running count.
"""

from __future__ import annotations

import shutil
import struct
import uuid
from pathlib import Path

import numpy as np

from tools.trace.table import ARGS, EventInfo
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

MAGIC = 0xC1FC1FC1
PER_PACKET = 32768
# magic, stream id, uuid | begin, end, content bits, packet bits, sequence, discarded, hart
HEADER = struct.Struct("<II16s" "QQQQQQQ")
EVENT = np.dtype(
    [("id", "<u8"), ("time", "<u8"), ("pid", "<i8"), ("program", "S16"), ("args", "<u8", (ARGS,))]
)  # every event fills all slots: one layout, written at the speed of numpy
TEXT = 8  # bytes of text in a slot

PREAMBLE = """/* CTF 1.8 */
typealias integer {{ size = 64; align = 64; signed = false; byte_order = le; }} := u64;
typealias integer {{ size = 64; align = 64; signed = false; base = 16; byte_order = le; }} := x64;
typealias integer {{ size = 64; align = 64; signed = true; byte_order = le; }} := i64;
typealias integer {{ size = 32; align = 32; signed = false; byte_order = le; }} := u32;
typealias integer {{ size = 8; align = 8; signed = false; byte_order = le; }} := u8;
typealias integer {{ size = 8; align = 8; signed = false; encoding = UTF8; byte_order = le; }} := char8;
trace {{
  major = 1; minor = 8; uuid = "{uuid}"; byte_order = le;
  packet.header := struct {{ u32 magic; u32 stream_id; u8 uuid[16]; }};
}};
env {{ hostname = "guest"; domain = "kernel"; tracer_name = "xv6-glass"; kernel = "{kernel}"; build_id = "{build}"; }};
clock {{
  name = time; description = "the time CSR"; freq = {frequency}; offset_s = 0; offset = 0; absolute = false;
}};
typealias integer {{ size = 64; align = 64; signed = false; byte_order = le; map = clock.time.value; }} := time_t;
stream {{
  id = 0;
  packet.context := struct {{
    time_t timestamp_begin; time_t timestamp_end; u64 content_size; u64 packet_size; u64 packet_seq_num;
    u64 events_discarded; u64 cpu_id;
  }};
  event.header := struct {{ u64 id; time_t timestamp; }};
  event.context := struct {{ i64 pid; char8 program[16]; }};
}};
"""

KINDS = {"n": "u64", "bytes": "u64", "ticks": "u64", "int": "i64", "pid": "i64"}


def _fields(info: EventInfo, trace: Trace) -> str:
    """The payload of an event: its arguments, and the slots it does not use."""
    out = []
    slot = 0
    for name, kind in info.arguments:
        if kind == "text":
            out.append(f"char8 _{name}[{(info.slots - slot) * TEXT}];")
            slot = info.slots
            continue
        values = trace.table.values.get(kind)
        if values:
            labels = ", ".join(f'"{text}" = {value}' for value, text in sorted(values.items()))
            out.append(f"enum : u64 {{ {labels} }} _{name};")
        else:
            out.append(f"{KINDS.get(kind, 'x64')} _{name};")
        slot += 1
    out += [f"x64 _unused{n};" for n in range(slot, ARGS)]
    return " ".join(out)


def metadata(trace: Trace, identity: uuid.UUID) -> str:
    """The text that describes the streams."""
    text = PREAMBLE.format(
        uuid=identity,
        kernel=trace.about.get("kernel", ""),
        build=trace.about.get("build_id", ""),
        frequency=trace.frequency,
    )
    known = {i: info for i, info in trace.table.events.items()}
    for i in np.unique(trace.records["event"]).tolist():
        known.setdefault(i, EventInfo(i, f"unknown_{i}", "", 0, ARGS, ()))
    for i, info in sorted(known.items()):
        fields = _fields(info, trace)
        text += f'event {{ name = "{info.name}"; id = {i}; stream_id = 0; fields := struct {{ {fields} }}; }};\n'
    return text


def export(trace: Trace, folder: Path, force: bool = False) -> int:
    """Writes the folder; returns how many events. Raises TraceError if it is there and not to be replaced."""
    if folder.exists():
        if not (force or (folder / "metadata").exists() or not any(folder.iterdir())):
            raise TraceError(f"{folder}: exists and is not a CTF trace")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    identity = uuid.uuid5(uuid.NAMESPACE_URL, "xv6-glass:" + str(trace.about))
    (folder / "metadata").write_text(metadata(trace, identity), encoding="ascii", errors="replace")
    names = np.array([n.encode("ascii", "replace") for n in trace.names], "S16")
    count = 0
    for hart in np.unique(trace.records["hart"]).tolist():
        mine = np.flatnonzero((trace.records["hart"] == hart) & trace.emitted)
        count += len(mine)
        _stream(trace, names, mine, hart, identity, folder / f"hart{hart}")
    return count


def _stream(
    trace: Trace, names: np.ndarray, mine: np.ndarray, hart: int, identity: uuid.UUID, path: Path
) -> None:
    gaps = sorted((loss.before, loss.count) for loss in trace.losses if loss.hart == hart)
    discarded, begin = 0, 0
    with open(path, "wb") as out:
        cuts = _cuts(trace, mine, [before for before, _ in gaps])
        for number, (start, end) in enumerate(zip(cuts, cuts[1:])):
            rows = trace.records[mine[start:end]]
            events = np.zeros(len(rows), EVENT)
            events["id"], events["time"] = rows["event"], rows["time"]
            events["pid"], events["program"] = rows["pid"], names[trace.programs[mine[start:end]]]
            events["args"] = rows["args"]
            last = int(rows["time"][-1])
            while gaps and gaps[0][0] <= int(rows["time"][0]):
                discarded += gaps.pop(0)[1]
            begin = max(begin, 0) if number else int(rows["time"][0])
            bits = (HEADER.size + events.nbytes) * 8
            out.write(
                HEADER.pack(
                    MAGIC, 0, identity.bytes, begin, last, bits, bits, number, discarded, hart
                )
            )
            out.write(events.tobytes())
            begin = last


def _cuts(trace: Trace, mine: np.ndarray, gaps: list[int]) -> list[int]:
    """Where packets begin and end: full ones, and after each loss, so that the loss shows where it was."""
    time = trace.records["time"][mine]
    cuts = {0, len(mine), *range(0, len(mine), PER_PACKET)}
    cuts |= {int(np.searchsorted(time, before)) for before in gaps}
    return sorted(cuts)
