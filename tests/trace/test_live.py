"""Recording real guests: every event fires, nothing is lost, a sound kernel breaks no rule; also under loss, at a
panic, from memory that was saved, and while one watches.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.harness import image, tree
from tests.harness.guest import Boot
from tests.trace.test_files import xv6_trace
from tools.guest import Kernel
from tools.guest.elf import Elf
from tools.guest.memory import FileMemory
from tools.trace import trace as normaliser
from tools.trace.check import judge
from tools.trace.follow import Follower
from tools.trace.record import Source, running
from tools.trace.requests import STEPS, Requests
from tools.trace.spans import calls, frames_in_use
from tools.trace.table import Table
from tools.trace.top import State, Top
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

TOOL = tree.ROOT / "tools" / "trace" / "xv6-trace"
EVERYTHING = (
    "shmem_test1; shmem_test2; crypto_cli; kill 99; usertests -q crypto; usertests -q pointer"
)


def record(path: Path, commands: str, *more: str) -> str:
    """Records a guest; returns what the tool said."""
    done = subprocess.run(
        [TOOL, "record", "-o", path, *more, "--", commands],
        capture_output=True,
        text=True,
        timeout=800,
        cwd=tree.ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_run_is_sound(tmp_path: Path) -> None:
    """The two mapping tests and a request: complete, lossless, all rules decided and kept, in every export."""
    path = tmp_path / "run.xt"
    assert "lost" not in record(path, "shmem_test1; shmem_test2; crypto_cli")
    trace = normaliser.load(path)
    assert trace.lost == 0 and not trace.missing_before and not trace.problems
    verdicts = judge(trace)
    assert [v.word for v in verdicts] == ["ok"] * len(verdicts), [v.violations for v in verdicts]
    requests = Requests(trace).all
    assert len(requests) == 1
    assert list(requests[0].steps) == [name for name, _ in STEPS]
    programs = {trace.names[i] for i in np.unique(trace.programs)}
    assert {"init", "sh", "crypto_srv", "crypto_cli", "shmem_test1", "shmem_test2"} <= programs
    assert "?" not in programs
    status, out, _ = xv6_trace("stats", path, "--json")
    assert status == 0 and json.loads(out)[0]["stages"]["enqueue to complete"]["count"] == 1
    assert len(trace.symbols.names) > 100 and trace.about["build_id"]


@pytest.fixture(scope="module")
def deaths(built: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A run with a server that has a planted bug."""
    folder = tmp_path_factory.mktemp("deaths")
    planted = image.make(folder, ["server_crash"], replace={"crypto_srv": "crypto_srv_bug"})
    record(folder / "run.xt", "server_crash", "--image", str(planted))
    return normaliser.load(folder / "run.xt")


def fired(trace: Trace) -> set[str]:
    """Names of the events that a trace has."""
    return {trace.table.events[int(e)].name for e in np.unique(trace.records["event"])}


def test_every_event_fires_and_pairs_match(deaths: Trace, tmp_path: Path) -> None:
    """All of the table in a sound run and in one whose server dies; what opens also closes; and no rule is broken by
    the whole of usertests.
    """
    path = tmp_path / "run.xt"
    record(path, "shmtrace -m begin; usertests -q", "--mem", "1G", "--ring", "2097152")
    trace = normaliser.load(path)
    assert fired(trace) | fired(deaths) == set(trace.table.ids)
    assert trace.lost == 0
    pairs_match(trace)
    broken = [v for v in judge(trace) if v.word != "ok"]
    assert not broken, [
        (v.rule.name, v.undecided, [x.text for x in v.violations[:3]]) for v in broken
    ]


def pairs_match(trace: Trace) -> None:
    """Who is waited for was forked; each request ends once; each hart leaves whom it ran; a call returns as itself;
    who is woken slept.
    """

    def values(event: str, argument: str) -> list[int]:
        return list(trace.arg(event, argument, trace.of(event)).tolist())

    assert set(values("wait", "child")) <= set(values("fork", "child"))
    assert len(values("wait", "child")) <= len(values("fork", "child"))
    for first in ("enqueue", "dequeue"):
        assert set(values(first, "request")) <= set(values("complete", "request"))
    assert sorted(values("enqueue", "request")) == sorted(values("complete", "request"))
    switches = trace.of("switch")
    for hart in np.unique(trace.records["hart"]):
        mine = switches[trace.records["hart"][switches] == hart]
        left, taken = (trace.arg("switch", name, mine) for name in ("previous", "next"))
        assert np.array_equal(left[1:], taken[:-1])
    for call in calls(trace):
        if call.exit >= 0:
            assert int(trace.records["args"][call.exit, 0]) == call.number
    slept = set(trace.records["pid"][trace.of("sleep")].tolist())
    assert slept and set(values("wakeup", "woken")) <= slept
    alive = len(values("alloc", "frame")) - len(values("free", "frame"))
    assert alive == trace.arg("alloc", "free", trace.of("alloc")[:1])[0] + 1 - free_at_end(trace)


def free_at_end(trace: Trace) -> int:
    """How many frames are free after the last event that says so."""
    return int(frames_in_use(trace)[1][-1])


def test_the_death_of_a_server(deaths: Trace) -> None:
    """A server with a planted bug: its deaths and restarts are told, the lost requests named."""
    died = deaths.of("server_death")
    assert len(died) and set(deaths.arg("server_death", "server", died)) == {2}
    assert 7 in deaths.arg("server_death", "status", died)
    assert len(deaths.of("server_start")) == len(died) + 1
    outcomes = [r.outcome for r in Requests(deaths).all]
    assert {1, 2} <= set(outcomes)
    # The planted server keeps its flags to itself, and that is what the rules find; nothing else.
    assert [v.rule.name for v in judge(deaths) if v.word == "broken"] == ["served-means-answered"]


def test_losses_are_counted_exactly(boot: Boot, tmp_path: Path) -> None:
    """A tiny ring read now and then: delivered plus lost is what was emitted; the file says where the gaps are."""
    guest = boot(cpus=2, extra=("-append", "trace=all trace_records=64"))
    kernel = Kernel(Elf(str(tree.KERNEL)), FileMemory(str(guest.ram)))
    follower = Follower(kernel, live=True)
    assert follower.find()
    follower.skip()
    start = dict(follower.positions)
    parts = [follower.poll()]
    for _ in range(6):
        guest.run("ls")
        parts.append(follower.poll())
    delivered = sum(map(len, parts))
    emitted = sum(follower.positions.values()) - sum(start.values())
    assert follower.lost > 0
    assert delivered + follower.lost == emitted
    records = np.concatenate(parts)
    for hart in np.unique(records["hart"]):
        sequence = records["sequence"][records["hart"] == hart]
        assert np.all(np.diff(sequence.astype(np.int64)) > 0)


def test_attach_to_a_running_guest(boot: Boot, tmp_path: Path) -> None:
    """Mid-run: processes and mappings of that moment are in the file, and what happened before in the rings."""
    guest = boot()
    guest.run("crypto_cli")
    path = tmp_path / "live.xt"
    status, out, err = xv6_trace("attach", "--ram", guest.ram, "-o", path, "--seconds", "0.2")
    assert status == 0, err
    trace = normaliser.load(path)
    assert {"init", "crypto_srv", "sh"} <= {p.decode() for p in trace.processes["name"]}
    assert len(trace.of("pte_set")) > 10 and not np.any(trace.emitted[trace.of("pte_set")])
    assert [r.outcome for r in Requests(trace).all] == [1]
    undecided = {v.rule.name for v in judge(trace) if v.word == "undecided"}
    assert "frames-are-freed-once" in undecided  # frame events are off by default
    assert not [v for v in judge(trace) if v.word == "broken"]


def test_attach_to_saved_memory(boot: Boot, tmp_path: Path) -> None:
    """A raw copy of a dead guest's memory tells the same as the guest did."""
    guest = boot(audited=False)
    guest.run("crypto_cli")
    dump = tmp_path / "memory"
    guest.signal_qemu(signal.SIGSTOP)
    subprocess.run(["cp", "--sparse=always", os.path.realpath(guest.ram), dump], check=True)
    guest.signal_qemu(signal.SIGCONT)
    guest.kill()
    status, _, err = xv6_trace("attach", "--dump", dump, "-o", tmp_path / "dead.xt")
    assert status == 0, err
    assert [r.outcome for r in Requests(normaliser.load(tmp_path / "dead.xt")).all] == [1]


def test_attach_through_the_debug_port(boot: Boot, tmp_path: Path) -> None:
    """QEMU's gdb stub gives the same records as the memory file."""
    port = str(24000 + os.getpid() % 900)
    guest = boot(audited=False, cpus=1, extra=("-gdb", f"tcp:127.0.0.1:{port}"))
    guest.run("crypto_cli")
    status, _, err = xv6_trace("attach", "--gdb", port, "-o", tmp_path / "gdb.xt")
    assert status == 0, err
    assert [r.outcome for r in Requests(normaliser.load(tmp_path / "gdb.xt")).all] == [1]


def file_on_disk(disk: bytes, name: bytes) -> bytes:
    """A file in the root directory of a disk image (the on-disk format of kernel/fs.h)."""
    inodes = struct.unpack_from("<8I", disk, 1024)[6]

    def content(number: int) -> bytes:
        words = struct.unpack_from("<4hI13I", disk, inodes * 1024 + number * 64)
        size, blocks = words[4], list(words[5:17])
        if words[17]:
            blocks += struct.unpack_from("<256I", disk, words[17] * 1024)
        return b"".join(disk[b * 1024 : b * 1024 + 1024] for b in blocks if b)[:size]

    entries = struct.iter_unpack("<H14s", content(1))
    return content(next(number for number, n in entries if n.rstrip(b"\0") == name and number))


def test_a_file_saved_in_the_guest(boot: Boot, tmp_path: Path) -> None:
    """What shmtrace -w wrote, taken out of the disk image, is a trace file."""
    guest = boot(audited=False)
    guest.run("crypto_cli")
    guest.run("shmtrace -w t")
    guest.run("sync")
    guest.kill()
    boot(
        image=guest.image, audited=False
    ).kill()  # its recovery moves what the log holds to its place
    path = tmp_path / "t.xt"
    path.write_bytes(file_on_disk(guest.image.read_bytes(), b"t"))
    trace = normaliser.load(path)
    assert trace.table.raw == Table.of(Elf(str(tree.KERNEL))).raw
    assert len(trace.records) and len(trace.of("server_start")) == 1


def test_show_follows_a_guest(boot: Boot) -> None:
    """show --follow prints events as they come, until it is interrupted."""
    guest = boot()
    with subprocess.Popen(
        [sys.executable, "-u", TOOL, "show", "--follow", "-e", "shm", "--ram", guest.ram],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tree.ROOT,
    ) as child:
        assert child.stdout
        assert "arguments" in child.stdout.readline()
        guest.run("crypto_cli")
        seen = [child.stdout.readline() for _ in range(8)]
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
    assert [line.split()[4] for line in seen] == [
        "state",
        "enqueue",
        "dequeue",
        "map",
        "state",
        "state",
        "unmap",
        "complete",
    ]
    assert "crypto_srv" in seen[2]


def test_top_shows_what_runs(boot: Boot) -> None:
    """One picture names harts and processes; the state accounts for requests as they pass."""
    guest = boot()
    top = Top(Source(Kernel(Elf(str(tree.KERNEL)), FileMemory(str(guest.ram))), guest.ram))
    guest.run("crypto_cli")
    top.gather(0.1)
    text = "\n".join(line for line, _ in top.lines(100))
    assert re.search(r"(?m)^ +2 crypto_srv +sleeping", text)
    assert "1 served" in text and "hart 2" in text
    assert len(top.state.latencies) == 1 and not top.state.flights
    status, out, _ = xv6_trace("top", "--once", "--ram", guest.ram)
    assert status == 0 and "crypto_srv" in out


def test_top_knows_requests_in_flight() -> None:
    """Between enqueue and complete a request shows its step."""
    from tests.trace.synthetic import Story, table

    records = Story().request(3).records
    state = State(table(), 10_000_000)
    words = []
    for i in range(len(records)):
        state.take(records[i : i + 1])
        words += [f.step for f in state.flights.values()]
    assert list(dict.fromkeys(words)) == [
        "queued",
        "taken",
        "mapped",
        "at work",
        "DONE",
        "unmapped",
    ]


@pytest.mark.no_audit("the guest is stopped dead")
def test_the_last_events_of_a_halted_guest(boot: Boot, tmp_path: Path) -> None:
    """A guest stopped dead still gives its last events, without an end of the file being missed."""
    guest = boot(cpus=1, audited=False)
    guest.run("crypto_cli")
    guest.signal_qemu(signal.SIGSTOP)
    status, _, err = xv6_trace("attach", "--dump", guest.ram, "-o", tmp_path / "stopped.xt")
    guest.signal_qemu(signal.SIGCONT)
    assert status == 0, err
    trace = normaliser.load(tmp_path / "stopped.xt")
    assert trace.table.events[int(trace.records["event"][-1])].name in (
        "wait",
        "exit",
        "mask",
        "resize",
        "fault",
        "exec",
    )


def test_the_guest_that_runs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what a launcher left that was killed, and one that is just leaving."""
    monkeypatch.setattr("tools.trace.record.ROOT", tmp_path)
    for name in ("alive", "killed", "leaving"):
        folder = tmp_path / "build" / "run" / name
        folder.mkdir(parents=True)
        (folder / "ram").touch()
        if name != "leaving":
            (folder / "lock").touch()
    with open(tmp_path / "build/run/alive/lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running() == tmp_path / "build/run/alive/ram"
    with pytest.raises(TraceError, match="none runs"):
        running()


@pytest.mark.parametrize(
    "words,text",
    [
        (["attach"], "which guest?"),
        (["attach", "--ram", "/nonexistent"], "No such file"),
        (["record", "--kernel", "/nonexistent"], "no such file; 'make' builds it"),
        (["record", "-e", "nonsense"], "no such event"),
        (["record", "--", "x" * 200], "120 characters"),
        (["show"], "which trace?"),
        (["show", "/nonexistent"], "No such file"),
        (["check", "--rule", "nonsense", "x"], "no such rule"),
    ],
)
def test_one_clear_line(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be done is said in one line, with status 2."""
    monkeypatch.chdir(tmp_path)
    if words == ["attach"]:
        monkeypatch.setattr("tools.trace.record.ROOT", tmp_path)
    status, out, err = xv6_trace(*words)
    assert status == 2
    assert text in err and err.count("\n") == 1 and err.startswith("xv6-trace: ")
