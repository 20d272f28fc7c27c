"""Whatever a user does to the tool: one clear line and status 2, never a traceback; and traces that hold little are
shown, judged, drawn and exported all the same.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.harness import tree
from tests.trace.synthetic import Story, table, written
from tests.trace.test_files import story, xv6_trace
from tests.trace.test_live import TOOL
from tools.trace import trace as normaliser
from tools.trace import tracefile
from tools.trace.check import judge
from tools.trace.table import EVENT_ROW, Table

VIEWS = ("show", "show --json", "show --csv", "check", "check --json", "stats", "stats --json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A trace file long enough to fill any buffer."""
    long = Story()
    for n in range(600):
        long.request(n)
    return written(long, tmp_path / "t.xt")


@pytest.mark.parametrize("view", ["show", "show --json", "check"])
def test_standard_output_that_fails(path: Path, view: str) -> None:
    """A full disk is told in one line; a reader that has had enough, and a closed output, are no fault."""
    command = [str(TOOL), *view.split(), str(path)]

    def run(redirection: str) -> "subprocess.CompletedProcess[str]":
        words = ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", *command]
        return subprocess.run(words, capture_output=True, text=True, cwd=tree.ROOT)

    full = run(">/dev/full")
    assert (full.returncode, full.stderr) == (2, "xv6-trace: No space left on device\n")
    for redirection in ("| head -n 1", ">&-"):
        done = run(redirection)
        assert (done.returncode, done.stderr) == (0, ""), redirection


@pytest.mark.parametrize(
    "words",
    [
        ["export", "--csv", "/dev/full"],
        ["export", "--perfetto", "/dev/full"],
        ["export", "--trace-dat", "FOLDER"],
        ["export", "--ctf", "FILE"],
        ["export", "--ctf", "/dev/null/x"],
        ["export", "--csv", "/nonexistent/x"],
        ["report", "-o", "/dev/full"],
        ["report", "-o", "FOLDER"],
    ],
    ids="-".join,
)
def test_output_that_cannot_be_written(path: Path, tmp_path: Path, words: list[str]) -> None:
    """The file is named, the reason given."""
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FILE").touch()
    places = [str(tmp_path / w) if w in ("FOLDER", "FILE") else w for w in words]
    status, _, err = xv6_trace(places[0], path, *places[1:])
    assert status == 2 and err.startswith(f"xv6-trace: {places[-1]}: ") and err.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "check", "stats", "report", "export --csv /dev/null"])
@pytest.mark.parametrize("what", ["missing", "folder", "empty", "text", "only magic"])
def test_what_is_no_trace(tmp_path: Path, path: Path, command: str, what: str) -> None:
    """Each subcommand names a file that it cannot read."""
    bad = tmp_path / "bad"
    if what == "folder":
        bad.mkdir()
    elif what != "missing":
        content = {"empty": b"", "text": b"hello, world\n", "only magic": path.read_bytes()[:8]}
        bad.write_bytes(content[what])
    status, _, err = xv6_trace(*command.split(), bad)
    assert status == 2 and err.startswith(f"xv6-trace: {bad}: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["show", "--from", "inf"],
        ["show", "--to", "nan"],
        ["show", "--from", "-1"],
        ["show", "--frame", "nonsense"],
        ["show", "--frame", "-5"],
        ["show", "--hart", "x"],
        ["stats", "T", "T"],
    ],
    ids="-".join,
)
def test_arguments_that_mean_nothing(
    path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with the argument named."""
    command = [w if w != "T" else str(path) for w in words]
    done = subprocess.run(
        [TOOL, command[0], path, *command[1:]], capture_output=True, text=True, cwd=tree.ROOT
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert words[-1] in done.stderr or "two to compare" in done.stderr


def test_memory_that_is_no_guests(tmp_path: Path, built: None) -> None:
    """A dump too short to hold the kernel is named, and so is a core that is none."""
    short = tmp_path / "short"
    short.write_bytes(bytes(4096))
    for option in ("--dump", "--core", "--ram"):
        status, _, err = xv6_trace("attach", option, short, "-o", tmp_path / "x.xt")
        assert status == 2 and str(short) in err and err.count("\n") == 1
    assert not (tmp_path / "x.xt").exists()


def test_guests_that_do_not_get_far(built: None, tmp_path: Path) -> None:
    """No disk that can be read: the trace ends there and the status says so. Too large a ring: the panic is told."""
    bad = tmp_path / "disk"
    bad.write_bytes(b"no file system\n")
    command = ["record", "-o", tmp_path / "t.xt", "--cpus", 1, "--image", bad, "--", "ls"]
    status, out, err = xv6_trace(*map(str, command))
    assert status == 1 and "before all of 1 lines were typed" in err and " events" in out
    command = ["record", "-o", tmp_path / "t.xt", "--ring", 2097152, "--", "ls"]
    status, _, err = xv6_trace(*map(str, command))
    assert status == 2 and "panic: boot_alloc" in err


def test_measure(path: Path, built: None) -> None:
    """The benchmark of these tools runs to its end; how fast they are is not judged here."""
    command: list[str | Path] = [
        TOOL.parent / "measure",
        "--trace",
        path,
        "--events",
        "20000",
        "--times",
        "1",
    ]
    done = subprocess.run([*command, "--no-browser"], capture_output=True, text=True, cwd=tree.ROOT)
    assert done.returncode in (0, 1), done.stderr
    lines = [line for line in done.stdout.splitlines() if " bar " in line]
    assert len(lines) == 9 and all("reached" in line.lower() for line in lines)
    assert "none lost, or counted exactly  reached" in done.stdout
    done = subprocess.run(
        [*command[:2], "/nonexistent"], capture_output=True, text=True, cwd=tree.ROOT
    )
    assert done.returncode == 2 and done.stderr.startswith("measure: /nonexistent: ")


def few(names: tuple[str, ...]) -> Table:
    """A table that knows only some events."""
    rows = [
        table().raw[0][at : at + EVENT_ROW.size]
        for at in range(0, len(table().raw[0]), EVENT_ROW.size)
    ]
    ids = {table().id(n) for n in names}
    return Table(b"".join(r for r in rows if EVENT_ROW.unpack(r)[0] in ids), table().raw[1])


@pytest.mark.parametrize("kinds", [("map", "unmap"), ("enqueue", "dequeue", "state"), ()])
@pytest.mark.parametrize("whole_table", [True, False])
def test_a_trace_of_few_events(tmp_path: Path, kinds: tuple[str, ...], whole_table: bool) -> None:
    """Records from elsewhere than a ring: unnumbered, of one hart, some kinds, no kernel named. All views take it."""
    records = story().records
    records = records[np.isin(records["event"], [table().id(k) for k in kinds])]
    records["sequence"] = 0
    records["hart"] = 0
    path = tmp_path / "few.xt"
    known = table() if whole_table or not kinds else few(kinds)
    assert tracefile.write(path, known, records) == len(records)
    trace = normaliser.load(path)
    assert len(trace.records) == len(records) and not trace.lost and trace.emitted.all()
    verdicts = {v.rule.name: v for v in judge(trace)}
    assert verdicts["first-in-first-out"].word == ("ok" if "dequeue" in kinds else "undecided")
    assert "alloc" in verdicts["frames-are-freed-once"].undecided
    assert not [v for v in verdicts.values() if v.word == "broken"]
    exports = {"--ctf": "ctf", "--trace-dat": "t.dat", "--perfetto": "t.json", "--csv": "t.csv"}
    for option, name in exports.items():
        assert xv6_trace("export", path, option, tmp_path / name)[0] == 0
    for view in VIEWS:
        status, out, err = xv6_trace(*view.split(), path)
        assert (
            status == 0 and not err and out.count("\n") >= (len(records) if "show" in view else 1)
        )
    status, _, err = xv6_trace("report", path)
    assert status == (0 if kinds else 2) and ("no events" in err) != bool(kinds)
    assert os.path.getsize(tmp_path / "t.dat")
