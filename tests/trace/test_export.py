"""Exports, read back by other people's programs: babeltrace2 and its python bindings, trace-cmd, a JSON schema."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import bt2
import numpy as np
import pytest

from tests.trace.synthetic import Story, table, written
from tests.trace.test_files import xv6_trace
from tools.trace import trace as normaliser
from tools.trace.text import Formatter
from tools.trace.trace import Trace


def everything() -> Story:
    """Every event of the table, with values that use all of an argument's bits, and a loss in the middle."""
    s = Story(step=37).process(1, "init").process(2, "crypto_srv").process(5, "crypto_cli")
    s.request(1)
    random = np.random.default_rng(7)
    for n, info in enumerate(table().events.values()):
        arguments: dict[str, Any] = {}
        for name, kind in info.arguments:
            value = int(random.integers(0, 1 << 63)) * 2 + 1
            values = table().values.get(kind)
            if kind == "text":
                arguments[name] = "hello, ring"
            elif kind == "pid":
                arguments[name] = 5
            elif values:
                arguments[name] = list(values)[n % len(values)]
            else:
                arguments[name] = value
        getattr(s, info.name)(pid=n % 6, hart=n % 3, **arguments)
    s.lose(9, hart=2).note(pid=5, hart=2, text="after the loss")
    return s


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Trace, Path]:
    """A trace, and the folder with all its exports."""
    path = written(everything(), tmp_path / "t.xt")
    status, _, err = xv6_trace(
        "export",
        path,
        "--ctf",
        tmp_path / "ctf",
        "--trace-dat",
        tmp_path / "t.dat",
        "--perfetto",
        tmp_path / "t.json",
        "--csv",
        tmp_path / "t.csv",
    )
    assert status == 0, err
    return normaliser.load(path), tmp_path


def expected_slots(trace: Trace, i: int) -> list[int]:
    """The argument slots of a record that its event fills."""
    slots = trace.table.events[int(trace.records["event"][i])].slots
    return [int(v) for v in trace.records["args"][i][:slots]]


def test_ctf_event_by_event(exported: tuple[Trace, Path]) -> None:
    """babeltrace2 gives the same events: time, hart, pid, program, arguments; enums by name; losses reported."""
    trace, folder = exported
    seen = 0
    discarded = 0
    for message in bt2.TraceCollectionMessageIterator(str(folder / "ctf")):
        if isinstance(message, bt2._DiscardedEventsMessageConst):
            discarded += message.count
        if not isinstance(message, bt2._EventMessageConst):
            continue
        event = message.event
        r = trace.records[seen]
        info = trace.table.events[int(r["event"])]
        assert event.name == info.name
        assert message.default_clock_snapshot.value == r["time"]
        assert event.packet.context_field["cpu_id"] == r["hart"]
        assert event.common_context_field["pid"] == r["pid"]
        assert event.common_context_field["program"] == trace.names[trace.programs[seen]]
        for slot, (name, kind) in enumerate(info.arguments):
            field = event.payload_field[name]
            if kind == "text":
                assert str(field) in ("hello, ring"[: 8 * (info.slots - slot)], "after the loss")
                continue
            assert int(field) & (1 << 64) - 1 == int(r["args"][slot])
            if kind in trace.table.values:
                assert trace.table.values[kind][int(field)] in field.labels
        seen += 1
    assert seen == len(trace.records)
    assert discarded == trace.lost == 9


def test_ctf_reads_without_a_warning(exported: tuple[Trace, Path]) -> None:
    """babeltrace2's own output: nothing but the loss on standard error, and times in seconds."""
    trace, folder = exported
    done = subprocess.run(
        ["babeltrace2", "--clock-seconds", folder / "ctf"],
        capture_output=True,
        text=True,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if line.strip()]
    assert all("discarded 9 event" in c.lower() or "9 events" in c for c in complaints), done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(trace.records)
    assert f"{trace.seconds(trace.records['time'][0]):.7f}" in lines[0]


def test_trace_dat_event_by_event(exported: tuple[Trace, Path]) -> None:
    """trace-cmd report prints the same events with the same arguments, and where events were lost."""
    trace, folder = exported
    done = subprocess.run(
        ["trace-cmd", "report", "-t", folder / "t.dat"], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""
    pattern = re.compile(r"^ *(\S.*)-(\d+) +\[(\d+)\] +(\d+)\.(\d{9}): (\w+): +(.*)$")
    rows = [m for m in map(pattern.match, done.stdout.splitlines()) if m]
    assert len(rows) == len(trace.records)
    assert "EVENTS DROPPED" in done.stdout.upper() or "MISSED" in done.stdout.upper()
    for i, m in enumerate(rows):
        r = trace.records[i]
        info = trace.table.events[int(r["event"])]
        assert int(m[2]) == r["pid"] and int(m[3]) == r["hart"] and m[6] == info.name
        assert int(m[4]) * 10**9 + int(m[5]) == int(r["time"]) * 100
        for slot, (name, kind) in enumerate(info.arguments):
            found = re.search(rf"(?:^| ){name}=(.*?)(?= \w+=|$)", m[7])
            assert found, m[0]
            values = trace.table.values.get(kind)
            raw = int(r["args"][slot])
            if kind == "text":
                assert "hello" in found[1] or "after" in found[1]
            elif values:
                assert found[1] == values[raw]
            elif kind in ("int", "pid"):
                assert int(found[1]) & (1 << 64) - 1 == raw
            else:
                assert int(found[1], 0) == raw


def test_perfetto_keeps_the_schema(exported: tuple[Trace, Path]) -> None:
    """Every entry has what its phase demands; spans and flows pair; each event is there."""
    trace, folder = exported
    data = json.loads((folder / "t.json").read_text())
    entries = data["traceEvents"]
    needs = {
        "M": {"name", "pid", "args"},
        "X": {"name", "pid", "tid", "ts", "dur"},
        "i": {"name", "pid", "tid", "ts", "s"},
        "b": {"name", "cat", "id", "ts"},
        "n": {"name", "cat", "id", "ts"},
        "e": {"name", "cat", "id", "ts"},
        "s": {"name", "cat", "id", "pid", "tid", "ts"},
        "f": {"name", "cat", "id", "pid", "tid", "ts", "bp"},
    }
    for entry in entries:
        assert needs[entry["ph"]] <= set(entry), entry
        assert entry.get("dur", 0) >= 0
    for opened, closed in (("b", "e"), ("s", "f")):
        assert sorted(e["id"] for e in entries if e["ph"] == opened) == sorted(
            e["id"] for e in entries if e["ph"] == closed
        )
    instants = [e for e in entries if e["ph"] == "i"]
    spans = trace.of("switch", "sys_enter", "sys_exit")
    assert len(instants) == len(trace.records) - len(spans)
    kept = np.setdiff1d(np.arange(len(trace.records)), spans)
    for entry, i in zip(instants, kept):
        assert entry["ts"] == pytest.approx(int(trace.records["time"][i]) / 10)
    assert data["otherData"]["lost"] == 9


def test_csv_has_a_row_for_each_event(exported: tuple[Trace, Path]) -> None:
    """The csv module reads as many rows, with the event's arguments by name."""
    trace, folder = exported
    with open(folder / "t.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["event"] for r in rows] == [
        trace.table.events[int(e)].name for e in trace.records["event"]
    ]
    assert [int(r["pid"]) for r in rows] == trace.records["pid"].tolist()


def test_json_lines_match_the_text(exported: tuple[Trace, Path]) -> None:
    """show --json and show give the same events in the same order."""
    trace, folder = exported
    _, text, _ = xv6_trace("show", folder / "t.xt", "--json")
    rows = [json.loads(line) for line in text.splitlines()]
    lines = "".join(Formatter(trace).lines(np.arange(len(trace.records)))).splitlines()
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines):
        assert row["event"] in line and str(row["pid"]) in line
        assert float(line.split()[0]) == pytest.approx(row["time"], abs=1e-6)


def test_what_trace_dat_cannot_hold(tmp_path: Path) -> None:
    """A time or an event number out of its bounds is named; times years apart begin a page."""
    far = Story().note(pid=5, text="early").note(pid=5, text="late", at=1 << 56)
    path = written(far, tmp_path / "t.xt")
    assert xv6_trace("export", path, "--trace-dat", tmp_path / "t.dat")[0] == 0
    done = subprocess.run(
        ["trace-cmd", "report", "-t", tmp_path / "t.dat"], capture_output=True, text=True
    )
    assert f"{(1 << 56) * 100 // 10**9}." in done.stdout and done.stdout.count("note") == 2
    path = written(far.note(pid=5, text="later", at=1 << 63), tmp_path / "t.xt")
    status, _, err = xv6_trace("export", path, "--trace-dat", tmp_path / "u.dat")
    assert status == 2 and f"cannot hold time {1 << 63:#x}" in err and err.count("\n") == 1


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with other things in it is refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    path = written(everything(), tmp_path / "t.xt")
    status, _, err = xv6_trace("export", path, "--ctf", tmp_path / "mine")
    assert status == 2 and "not a CTF trace" in err
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert xv6_trace("export", path)[0] == 2
