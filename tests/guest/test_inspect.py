"""The commands as xv6-inspect runs them on files: their data, their one-line errors, their exit status."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.guest.image import DATA, Image
from tests.harness import tree
from tools.gdb.commands import COMMANDS
from tools.gdb.report import to_json, to_text
from tools.gdb.session import Session
from tools.guest.memory import GuestError
from tools.guest.sv39 import R, S, U, V, W, X, walk

INSPECT = tree.ROOT / "tools" / "gdb" / "xv6-inspect"


def run(image: Image, line: str) -> tuple[dict[str, Any], str]:
    """A command on an image: its JSON, and its text."""
    name, *words = line.split()
    command = next(c for c in COMMANDS if c.name == name)()
    report = command.run(Session(image.kernel), command.parser().parse_args(words))
    return json.loads(to_json(report)), to_text(report)


def inspect(image: Image, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """xv6-inspect as a user starts it, on the image written to a file."""
    ram = folder / "ram"
    ram.write_bytes(image.ram)
    command = [str(INSPECT), "--kernel", str(image.path), "--ram", str(ram), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def two(image: Image) -> Image:
    """Process 2 has the second page of process 1 shared in; a request waits."""
    image.free(image.frame())
    one, other = image.process(0, 1, "cli", pages=3), image.process(1, 2, "srv")
    image.map(one, 0, 0x8030_0000, V | R | X | U)
    frame = walk(image.memory, one, 0x1000).pa or 0
    image.map(other, 0x2000, frame, DATA | S)
    image.set("proc[1].sz", 0x3000)
    for slot in range(4):
        image.set(f"shmem_queue.requests[{slot}].src_pid", 1 if slot == 2 else -1)
    image.set("shmem_queue.requests[2].src_va", 0x1010)
    return image


def test_pagetable(two: Image) -> None:
    data, text = run(two, "pagetable 2")
    rows = [(r["va"], r["bytes"], r["perm"], r["what"]) for r in data["ranges"]]
    assert rows == [
        (0, 0x2000, "RW-U -AD --", "data (2 pieces)"),
        (0x2000, 0x1000, "RW-U -AD S-", "shared from pid 1 (cli)"),
    ]
    assert text.startswith("pid 2 (srv): root ") and "sz 0x3000" in text
    assert [r["va"] for r in run(two, "pagetable 2 --all")[0]["ranges"]] == [0, 0x1000, 0x2000]
    assert [r["va"] for r in run(two, "pagetable 1 --perm X")[0]["ranges"]] == [0]
    assert "no range is among those asked for" in run(two, "pagetable 1 --perm W.*X")[1]
    assert [r["va"] for r in run(two, "pagetable 1 --va 0x1fff..0x2000")[0]["ranges"]] == [0x1000]
    root = data["root"]
    assert run(two, f"pagetable {root:#x}")[0]["ranges"] == data["ranges"]
    tables = run(two, "pagetable srv --tree")[0]["tables"]
    assert [(t["level"], t["pointers"], t["leaves"]) for t in tables] == [
        (2, 1, 0),
        (1, 1, 0),
        (0, 0, 3),
    ]
    lines = run(two, "pagetable 2 --vmprint")[1].splitlines()
    assert lines[0] == f"page table {root:#018x}" and lines[1].startswith(" ..0: pte 0x")
    assert lines[3].startswith(" .. .. ..0: pte ") and len(lines) == 6


def test_broken_entries_are_rows(two: Image) -> None:
    root = run(two, "pagetable 1")[0]["root"]
    two.map(root, 0x2000, 0x8030_0000, V | W | U)
    two.word(root + 8 * 9, root >> 2 | V)
    data, text = run(two, "pagetable 1")
    assert [r.get("kind") for r in data["ranges"] if r.get("problem")] == ["w-without-r", "loop"]
    assert "<- W without R is reserved" in text and "a loop" in text
    checked, _ = run(two, "pagetable 1 --check")
    assert {f["kind"] for f in checked["findings"]} >= {"entry-w-without-r", "entry-loop"}


def test_check_finds_a_freed_page(two: Image) -> None:
    """A frame on the free list is reported for the process that maps it, and for no other."""
    root = run(two, "pagetable 1")[0]["root"]
    two.free(walk(two.memory, root, 0x2000).pa or 0)
    assert [f["kind"] for f in run(two, "pagetable 1 --check")[0]["findings"]] == [
        "freed-but-mapped"
    ]
    assert run(two, "pagetable 2 --check")[0]["findings"] == []


def test_walk(two: Image) -> None:
    data, text = run(two, "walk 0x2008 2")
    assert data["pa"] == walk(two.memory, data["root"], 0x2008).pa
    assert [s["level"] for s in data["steps"]] == [2, 1, 0]
    assert data["faults"]["user fetch"] == "level 0 entry has no X"
    assert "every access faults: level 0 entry is not valid" in run(two, "walk 0x9000 2")[1]


def test_shmem(two: Image) -> None:
    data, text = run(two, "shmem")
    (row,) = data["shared"]
    assert [(m["pid"], m["va"], m["shared_in"]) for m in row["mappings"]] == [
        (1, 0x1000, False),
        (2, 0x2000, True),
    ]
    assert row["count"] is None and "keeps no reference counts" in text
    (request,) = data["queue"]
    assert (request["pid"], request["va"], request["header"]) == (
        1,
        0x1010,
        "type 0? state 0? key 0 data 0",
    )
    frame = run(two, f"shmem frame {row['pa']:#x}")[0]
    assert [(m["pid"], m["va"]) for m in frame["mappings"]] == [(1, 0x1000), (2, 0x2000)]
    assert run(two, "shmem check")[0]["findings"] == []
    assert run(two, "shmem 2")[0]["shared"] == data["shared"]


def test_ps_says_what_each_sleeps_on(two: Image) -> None:
    two.set("proc[0].chan", two.at("proc[0]"))
    two.set("proc[1].chan", two.at("bcache.buf[1].lock"))
    two.set("bcache.buf[1].lock.locked", 1)
    two.set("bcache.buf[1].lock.pid", 1)
    rows = run(two, "ps")[0]["processes"]
    assert [r["waits"] for r in rows] == [
        "proc[0]: its children",
        "sleeplock bcache.buf[1].lock, held by pid 1 (cli)",
    ]
    assert [r["hart"] for r in rows] == [None, None]


def test_backtrace_follows_frame_pointers(two: Image) -> None:
    """sched <- acquire's caller, by the words on the stack; it ends at the first address outside the kernel."""
    stack, sched = two.frame(), two.elf.symbols["sched"].address
    start = two.elf.symbols["_start"].address
    two.set("proc[0].kstack", stack)
    two.set("proc[0].context.ra", sched + 8)
    two.set("proc[0].context.s0", stack + 0x100)
    two.word(stack + 0x100 - 8, start + 8)
    two.word(stack + 0x100 - 16, stack + 0x140)
    two.word(stack + 0x140 - 8, 0x1234)
    frames = run(two, "ps 1 -b")[0]["processes"][0]["frames"]
    assert [f["function"] for f in frames] == ["sched", "_start"]


def test_deadlock_is_explained(two: Image) -> None:
    for slot, waits in ((0, 1), (1, 0)):
        two.set(f"proc[{slot}].chan", two.at(f"bcache.buf[{waits}].lock"))
        two.set(f"bcache.buf[{slot}].lock.locked", 1)
        two.set(f"bcache.buf[{slot}].lock.pid", slot + 1)
    data, text = run(two, "locks")
    assert {tuple(step) for step in data["deadlocks"][0]} == {
        ("pid 1", "bcache.buf[1].lock"),
        ("pid 2", "bcache.buf[0].lock"),
    }
    assert "deadlock: pid" in text and "which pid 2 (srv) holds" in text


@pytest.mark.parametrize(
    "line, message",
    [
        ("ps nobody", "nobody: no such process (there are: 1 cli, 2 srv)"),
        ("walk nowhere 1", "nowhere: neither a number nor a symbol of the kernel"),
        ("pagetable kernel", "the kernel has no page table yet: paging is not set up"),
        ("pagetable 0x1000", "root 0x1000 is not a page of the guest's memory"),
        ("pagetable 1 --perm (", "--perm (: "),
        ("pagetable 1 --va 9..1", "pagetable: argument --va: 9..1: ends before it starts"),
        ("shmem frame 0x10000000", "0x10000000 is not a physical address in the guest's memory"),
        ("shmtrace", "this kernel has no trace rings"),
        ("diff a", "a: no snapshot of that name (there are: none)"),
    ],
)
def test_errors_are_one_line(two: Image, line: str, message: str) -> None:
    with pytest.raises(GuestError) as error:
        run(two, line)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_status_and_output(two: Image, tmp_path: Path) -> None:
    """0 and tables; 1 for findings; 2 and one line naming the culprit, nothing on standard output."""
    fine = inspect(two, tmp_path, "ps", "--json")
    assert fine.returncode == 0 and len(json.loads(fine.stdout)["processes"]) == 2
    assert "\x1b" not in inspect(two, tmp_path, "ps").stdout
    assert "\x1b[1m" in inspect(two, tmp_path, "--color", "always", "shmem").stdout
    snapshot = str(tmp_path / "a")
    assert inspect(two, tmp_path, "snapshot", snapshot).returncode == 0
    assert "nothing changed" in inspect(two, tmp_path, "diff", snapshot).stdout
    two.set("proc[0].sz", 0x1000)
    assert inspect(two, tmp_path, "shmem", "check").returncode == 1
    for words in (("ps", "7"), ("nothing",)):
        bad = inspect(two, tmp_path, *words)
        assert (bad.returncode, bad.stdout, len(bad.stderr.splitlines())) == (2, "", 1), words
        assert bad.stderr.startswith("xv6-inspect: ")
    shown = inspect(two, tmp_path, "pagetable", "--help")
    assert shown.returncode == 0 and "--vmprint" in shown.stdout
