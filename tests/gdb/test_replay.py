"""A recorded run in gdb: the same each time, forward and back, and who wrote what.

One recording serves all tests here: a page shared, a request to the server, and ^C.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness import tree

EXTENSION = tree.ROOT / "tools" / "gdb" / "xv6.py"


@pytest.fixture(scope="module")
def recording(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of shmem_test2 and crypto_cli, left with ^C."""
    folder = tmp_path_factory.mktemp("replay") / "far" / "from" / "the" / "tree" / "recording"
    before = tree.IMAGE.read_bytes()
    console = pexpect.spawn(
        str(tree.RUN), ["--cpus", "1", "--record", str(folder)], encoding="utf-8", timeout=180
    )
    for line in ("shmem_test2", "crypto_cli"):
        console.expect(r"\$ $")
        console.sendline(line)
    console.expect(r"one frame\.\r\n\$ $")
    console.sendintr()
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0
    assert tree.IMAGE.read_bytes() == before  # the guest wrote to the recording's own disk
    return folder


class Gdb:
    """gdb with the extension and the recording, one command after the other."""

    def __init__(self, recording: Path):
        arguments = ["-q", "-nx", "-ex", "set pagination off", "-ex", "set width 0"]
        arguments += ["-ex", "set style enabled off", "-ex", f"source {EXTENSION}"]
        self.child = pexpect.spawn(
            "gdb-multiarch",
            arguments,
            encoding="utf-8",
            timeout=600,
            cwd=str(tree.ROOT),
            echo=False,
        )
        self.child.expect_exact("(gdb) ")
        assert "instruction 0 of" in self(f"replay {recording}")

    def __call__(self, command: str) -> str:
        """What a command prints."""
        self.child.sendline(command)
        self.child.expect_exact("(gdb) ")
        text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", self.child.before or "").replace("\r\n", "\n")
        return text.removeprefix(command).lstrip("\r\n")

    @property
    def position(self) -> int:
        """Instructions executed so far."""
        found = re.search(r"instruction (\d+) of", self("replay info"))
        assert found
        return int(found[1])


@pytest.fixture
def gdb(recording: Path) -> Iterator[Gdb]:
    """gdb at the recording's first instruction; afterwards neither it nor a QEMU is left."""
    session = Gdb(recording)
    yield session
    session.child.sendline("quit")
    session.child.expect(pexpect.EOF)
    session.child.close()
    running = subprocess.run(["pgrep", "-f", f"rrfile={recording}"], capture_output=True)
    assert running.returncode == 1


def test_every_replay_is_the_same(gdb: Gdb) -> None:
    """A breakpoint is hit at the same instruction with the same arguments, and the console too."""
    runs = []
    for _ in range(2):
        gdb("break map_shared_pages")
        text = gdb("continue") + gdb("continue")
        text = re.sub(r"Breakpoint \d+", "Breakpoint", text)
        runs.append((gdb.position, text[text.index("Breakpoint") :]))
        gdb("delete")
        gdb("replay goto 0")
    assert runs[0] == runs[1]
    assert 'guest| parent: reads "Hello daddy"' in runs[0][1]


def test_back_by_instructions_and_to_the_last_hit(gdb: Gdb) -> None:
    """reverse-stepi, reverse-continue and reverse-finish land where a forward run has been."""
    gdb("break map_shared_pages")
    gdb("continue")
    first = gdb.position
    registers = gdb("info registers")
    gdb("stepi 100")
    assert gdb.position == first + 100
    gdb("reverse-stepi 100")
    assert gdb.position == first and gdb("info registers") == registers
    gdb("continue")
    second = gdb.position
    assert second > first
    assert "map_request" in gdb("reverse-finish")
    assert gdb.position == second - 1
    gdb("replay goto end")
    assert "map_shared_pages" in gdb("reverse-continue") and gdb.position == second
    gdb("reverse-continue")
    assert gdb.position == first
    assert "no breakpoint was hit before" in gdb("reverse-continue") and gdb.position == first


def test_who_wrote_a_page_table_entry(gdb: Gdb) -> None:
    """The entry of a shared page was written by the mapping, its removal by the unmapping."""
    gdb("tbreak map_shared_pages")
    gdb("continue")
    pid = gdb("print dst->pid").split()[-1]
    to = int(gdb("output/x (dst->sz + 4095) & ~4095UL").split()[-1], 16)
    gdb("finish")
    here = gdb.position
    text = gdb(f"who-wrote {to:#x} {pid} --entry")
    assert re.search(
        rf"level 0 entry of {to:#x} in pid {pid} \(shmem_test2\): 0x0 -> 0x\w+\n", text
    )
    assert "kernel/mm/" in text and f"by pid {pid} (shmem_test2)" in text
    assert gdb.position < here
    assert "map_shared_pages" in gdb("backtrace")
    entry = re.search(r"0  +\d+  (0x\w+) +0x\w+ ", gdb(f"walk {to:#x} {pid}"))
    assert entry
    gdb("tbreak unmap_shared_pages")
    gdb("continue")
    gdb("finish")
    assert re.search(r"-> 0x0\n", gdb(f"who-wrote {entry[1]}"))
    assert "unmap_shared_pages" in gdb("backtrace")


def test_who_wrote_a_shared_byte(gdb: Gdb) -> None:
    """The server, not the client, wrote a request's state, through its own mapping of the frame."""
    gdb("replay goto end")
    request = re.search(r"enqueue .*?va=(0x\w+)", gdb("shmtrace --event enqueue"))
    assert request
    gdb("break unmap_shared_pages if p->pid == 2")
    gdb("reverse-continue")
    gdb("user crypto_cli")
    state = f"'&((struct crypto_op *) {request[1]})->state'"
    text = gdb(f"who-wrote {state} crypto_cli")
    assert "by pid 2 (crypto_srv)" in text, text
    assert "(user/crypto_srv.c:" in text


def test_snapshots_on_the_way_and_things_kept(gdb: Gdb) -> None:
    """Long ways forward leave snapshots, which a later session finds; `snapshot` outlives a jump."""
    gdb("python from tools.gdb import replay; replay.EVERY = 400000")
    gdb("snapshot start")
    gdb("replay goto end")
    text = gdb("replay info")
    count = re.search(r"(\d+) snapshots", text)
    assert count and int(count[1]) >= 3, text
    gdb("reverse-stepi")
    assert "shmem_test2" not in gdb("diff start") and "sh" in gdb("diff start")


def test_mistakes_are_one_line(gdb: Gdb, tmp_path: Path) -> None:
    """Whatever is asked in vain, the replay stays where it is."""
    gdb("replay goto 1000000")
    for command, answer in {
        "replay goto x": "want N, +N, -N or end",
        "replay goto -9999999": "before the first instruction",
        "replay backwards now": "neither goto nor info",
        "reverse-next": "not offered on a recording",
        "who-wrote nonsense": 'No symbol "nonsense"',
        "who-wrote 0x10": "no RAM is there",
        "who-wrote 0x0 77": "77",
        "who-wrote 0x80000000 --size 65": "want 1 to 64 bytes",
        f"replay {tmp_path}": "no recording there",
    }.items():
        text = gdb(command)
        assert answer in text and text.count("\n") == 1, f"{command}: {text}"
        assert gdb.position == 1000000
    gdb("replay goto end")
    for command in ("continue", "stepi"):
        assert (
            gdb(command)
            == "the recording ends here: reverse-continue and 'replay goto' lead back\n"
        )


def test_what_cannot_be_replayed_is_refused(recording: Path, tmp_path: Path) -> None:
    """A folder that is none, one of another QEMU, one whose QEMU was killed; and two harts."""

    def refused(*arguments: str | Path) -> str:
        done = subprocess.run([tree.RUN, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "no recording (kernel is missing); make record" in refused("--replay", tmp_path)
    assert "one hart" in refused("--record", tmp_path / "new", "--cpus", "2")
    (tmp_path / "precious").write_text("mine")
    assert "holds precious" in refused("--record", tmp_path, "--cpus", "1")
    copy = tmp_path / "copy"
    shutil.copytree(recording, copy)
    facts = (copy / "recording.json").read_text()
    (copy / "recording.json").write_text(facts.replace('"qemu": "', '"qemu": "9'))
    assert "record it again" in refused("--replay", copy)
    (copy / "recording.json").write_text(facts)
    (copy / "log").write_bytes(b"\0" * 100)
    assert "unfinished, QEMU was killed; record it again" in refused("--replay", copy)
