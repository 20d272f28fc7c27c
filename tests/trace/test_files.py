"""Trace files and the normaliser: written and read back, cut off, damaged, out of order, with copies and losses."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from tests.trace.synthetic import Story, table, written
from tools.trace import cli
from tools.trace import trace as normaliser
from tools.trace import tracefile
from tools.trace.table import EVENT_ROW, Table
from tools.trace.tracefile import CHUNK, TraceError


def xv6_trace(*arguments: str | Path) -> tuple[int, str, str]:
    """Runs the tool in this process: exit status, what it printed, its messages."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main([str(a) for a in arguments])
    return status, out.getvalue(), err.getvalue()


def story() -> Story:
    """Two requests and a fork."""
    s = Story().process(1, "init").process(2, "crypto_srv")
    s.fork(pid=1, child=5, root=0x8200_0000).exec(pid=5, root=0x8201_0000, name="crypto_cli")
    return s.request(1).request(2)


def test_table_is_sound() -> None:
    """Ids are below 63 and unique; the arguments fill exactly the slots; kinds are known or have values."""
    kinds = {"n", "bytes", "pid", "int", "hex", "ticks", "va", "frame", "symbol", "pte", "text"}
    t = table()
    assert len(t.events) == len(t.ids) == len(t.raw[0]) // EVENT_ROW.size
    for info in t.events.values():
        assert info.id < 63
        names = [name for name, _ in info.arguments]
        assert len(set(names)) == len(names)
        for i, (_, kind) in enumerate(info.arguments):
            assert kind in kinds or kind in t.values, f"{info.name}: {kind}"
            assert kind != "text" or i == len(info.arguments) - 1
        if not info.arguments or info.arguments[-1][1] != "text":
            assert info.slots == len(info.arguments)


def test_file_comes_back_as_written(tmp_path: Path) -> None:
    """Records, processes, masks and description survive."""
    s = story()
    trace = normaliser.load(written(s, tmp_path / "t.xt"))
    assert np.array_equal(trace.records, s.records)
    assert trace.about["frequency"] == 10_000_000
    assert trace.problems == [] and trace.lost == 0
    assert [trace.name_at(p, 3) for p in (1, 2, 5)] == ["init", "crypto_srv", "crypto_cli"]
    assert trace.name_at(5, 0) == "init"  # between fork and exec


@pytest.mark.parametrize("cut", [1, 7, 40, 64, 65, 500])
def test_cut_off_file(tmp_path: Path, cut: int) -> None:
    """A file that ends in the middle of its records gives the whole ones before, and says so."""
    path = written(story(), tmp_path / "t.xt")
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    trace = normaliser.load(path)
    assert len(trace.records) == len(story().records) - -(-cut // 64)
    assert any("ends in the middle" in p for p in trace.problems)
    status, out, err = xv6_trace("show", path)
    assert status == 0 and "enqueue" in out and "ends in the middle" in err


def test_damage_in_the_middle(tmp_path: Path) -> None:
    """A chunk's header overwritten: the other chunks are read, the gap is described."""
    s = story()
    path = tmp_path / "t.xt"
    writer = tracefile.Writer(path, table())
    for part in np.array_split(s.records, 4):
        writer.records(part)
    writer.close()
    data = bytearray(path.read_bytes())
    at = data.rindex(b"records\0", 0, data.rindex(b"records\0"))
    data[at : at + CHUNK.size] = b"\xff" * CHUNK.size
    path.write_bytes(data)
    trace = normaliser.load(path)
    assert 0 < len(trace.records) < len(s.records)
    assert any("not readable" in p for p in trace.problems)
    assert trace.lost > 0  # sequence numbers show what is missing


@pytest.mark.parametrize("seed", range(40))
def test_noise_never_crashes(tmp_path: Path, seed: int) -> None:
    """Random bytes over a file give a trace or one clear message, never a traceback."""
    random = np.random.default_rng(seed)
    path = written(story(), tmp_path / "t.xt")
    data = bytearray(path.read_bytes())
    for at in random.integers(0, len(data), 30):
        data[at] = random.integers(0, 256)
    path.write_bytes(data[: int(random.integers(1, len(data)))] if seed % 2 else data)
    for command in ("show", "check", "stats"):
        status, _, err = xv6_trace(command, path)
        assert status in (0, 1, 2)
        assert status != 2 or err.startswith("xv6-trace: ")


@pytest.mark.parametrize("data", [b"", b"short", b"\x7fELF" + bytes(100)])
def test_not_a_trace(tmp_path: Path, data: bytes) -> None:
    """Something else is refused in one line that names it."""
    path = tmp_path / "x"
    path.write_bytes(data)
    status, _, err = xv6_trace("show", path)
    assert status == 2
    assert err == f"xv6-trace: {path}: not a trace file\n"
    with pytest.raises(TraceError):
        tracefile.read(tmp_path / "none")


def test_order_copies_and_losses() -> None:
    """Records in any order, read twice, with gaps: sorted, once each, the gaps counted where they are."""
    s = story()
    s.lose(7, hart=1).note(pid=2, hart=1, text="after the gap")
    contents = s.contents()
    random = np.random.default_rng(3)
    shuffled = np.concatenate([contents.records, contents.records[4:9]])
    random.shuffle(shuffled)
    contents.records = shuffled
    trace = normaliser.normalise(contents)
    assert np.array_equal(trace.records, s.records)
    assert trace.lost == 7
    assert [(loss.hart, loss.count) for loss in trace.losses] == [(1, 7)]


def test_shows_filters(tmp_path: Path) -> None:
    """Each filter of show, alone and together."""
    path = written(story(), tmp_path / "t.xt")

    def events(*arguments: str) -> list[str]:
        status, out, _ = xv6_trace("show", path, *arguments)
        assert status == 0
        return [line.split()[4] for line in out.splitlines()[1:]]

    assert len(events()) == len(story().records)
    assert set(events("-e", "map,unmap")) == {"map", "unmap"}
    assert set(events("--hart", "1")) <= {"dequeue", "resize", "map", "state", "unmap", "complete"}
    assert events("--request", "2")[:2] == ["state", "enqueue"]
    assert events("-p", "1") == ["fork"]
    assert set(events("--program", "init")) == {"fork"}
    assert events("--frame", "0x82010abc") == ["exec"]
    assert events("-e", "map", "--request", "1", "--hart", "1") == ["map"]
    for bad in (["-e", "nonsense"], ["--program", "nobody"], ["--request", "99"]):
        assert xv6_trace("show", path, *bad)[0] == 2


def test_unknown_events_are_shown() -> None:
    """A record whose event the table does not have is kept, with its numbers."""
    s = story()
    contents = s.contents()
    contents.table = Table(table().raw[0][: -EVENT_ROW.size], table().raw[1])
    last = max(table().events)
    contents.records = contents.records.copy()
    contents.records["event"][0] = last
    from tools.trace.text import Formatter

    lines = "".join(Formatter(normaliser.normalise(contents)).lines(np.arange(1)))
    assert f"unknown {last}" in lines and "a0=" in lines
