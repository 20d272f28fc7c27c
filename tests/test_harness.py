"""The harness itself, on a made-up guest: what should fail does, at once and with the console."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pexpect.expect import searcher_re

from tests.harness import again, audit, tree
from tests.harness.guest import PANIC, Guest, GuestFailure
from tests.soak.load import compare

# Answers like a guest's shell. `leak` costs it a frame, `murder` its server.
FAKE_QEMU = r"""#!/usr/bin/python3
import sys, time, tty
if "--version" in sys.argv:
    sys.exit(print("QEMU emulator version 7.2.22"))
tty.setraw(0)
frames, status, served = 100, 0, True
def show(text):
    sys.stdout.write(text.replace("\n", "\r\n"))
    sys.stdout.flush()
show("hart 0 starting\nhart 1 starting\n$ hart 2 starting\n")
for line in iter(sys.stdin.readline, ""):
    command = line.strip("\r\n")
    show(command + "\n")
    if command.startswith("echo "):
        show(command[5:].replace("$?", str(status)) + "\n")
    elif command == "free -q":
        show(f"{frames}\n")
    elif command == "leak":
        frames -= 1
    elif command == "ps":
        show("PID PARENT STATE NAME\n1 0 sleeping init\n")
        show("2 0 sleeping crypto_srv\n" if served else "")
    elif command == "murder":
        served = False
    elif command == "price":
        show("no newline, 5 $ ")
        time.sleep(0.2)
    elif command == "much":
        show("a line that says little\n" * 8000)
    elif command == "boom":
        show("panic: boom\nhart 0: the details\n")
        continue
    elif command == "off":
        sys.exit(0)
    status = 1 if command == "false" else 0
    show("$ ")
"""


@pytest.fixture
def fake(tmp_path: Path, built: None) -> Guest:
    """A guest that is only a script."""
    qemu = tmp_path / "qemu"
    qemu.write_text(FAKE_QEMU)
    qemu.chmod(0o755)
    return Guest(tree.copy_image(tree.IMAGE, tmp_path / "fs.img"), qemu=str(qemu), timeout=20)


def test_output_is_free_of_echo_and_prompt(fake: Guest) -> None:
    """Even where it looks like a prompt."""
    with fake:
        assert fake.run("echo one two") == "one two\n"
        assert fake.run("price") == "no newline, 5 $ "
        assert fake.run("false", status=1) == ""


def test_much_output_is_read_at_once(fake: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already is not searched again for each piece that arrives."""
    searched = []
    search = searcher_re.search

    def counted(self: searcher_re, buffer: str, *rest: int) -> int:
        searched.append(len(buffer))
        return int(search(self, buffer, *rest))

    monkeypatch.setattr(searcher_re, "search", counted)
    assert fake.run("much").count("\n") == 8000
    assert sum(searched) / len(searched) < 10_000


def test_a_wrong_status_fails(fake: Guest) -> None:
    """A command is expected to succeed unless the test says otherwise."""
    with fake, pytest.raises(GuestFailure, match="'false' ended with status 1, not 0"):
        fake.run("false")


def test_a_panic_fails_whatever_was_awaited(fake: Guest) -> None:
    """With the lines that follow the panic; a test that provokes it may forgive it."""
    with fake, pytest.raises(GuestFailure, match=r"(?s)panic: boom.*hart 0: the details"):
        fake.run("boom")


def test_a_forgiven_panic_can_be_read(fake: Guest) -> None:
    """The test that asked for it sees it as output."""
    with fake:
        fake.forgive(PANIC)
        fake.keys("boom\n")
        fake.expect("panic: boom")


def test_the_end_of_qemu_fails(fake: Guest) -> None:
    """A guest that is gone is not waited for."""
    with fake, pytest.raises(GuestFailure, match="QEMU ended"):
        fake.run("off")


def test_silence_fails_in_the_time_given(fake: Guest) -> None:
    """And the message says what was awaited."""
    with fake, pytest.raises(GuestFailure, match=r"nothing like 'never' within 0\.5 s"):
        fake.expect("never", timeout=0.5)


def test_the_audit_finds_a_lost_frame(fake: Guest) -> None:
    """A sound guest passes, one that lost a frame does not."""
    with fake:
        before = audit.baseline(fake)
        audit.from_inside(fake, before)
        fake.run("leak")
        with pytest.raises(
            GuestFailure, match="1 frames lost: 100 were free after boot, 99 are now"
        ):
            audit.from_inside(fake, before)


def test_the_audit_misses_the_server(fake: Guest) -> None:
    """pid 2 must be crypto_srv."""
    with fake:
        before = audit.baseline(fake)
        fake.run("murder")
        with pytest.raises(GuestFailure, match="no crypto_srv with pid 2"):
            audit.from_inside(fake, before)
        with pytest.raises(GuestFailure, match="do not come to rest"):
            audit.baseline(fake)


def test_a_load_that_gets_slower_is_told_from_noise() -> None:
    """Rounds that differ by a tenth: a rise by half is seen, the same without a rise is not."""
    noise = [1.0, 1.1, 0.95, 1.05, 0.9] * 8
    rise = [n * (1 + i / 80) for i, n in enumerate(noise)]
    for part in (10, 2):
        dearer, most = compare(noise, part)
        assert dearer <= most
        dearer, most = compare(rise, part)
        assert dearer > most


BAD_TESTS = """import pytest
@pytest.fixture
def broken(): raise OSError
@pytest.mark.xdist_group("clone")
def test_grouped(): assert 0
@pytest.mark.xdist_group("clone")
@pytest.mark.parametrize("who", ["a@b"])
def test_cannot_begin(broken, who): pass
def test_plain(): assert 0
def test_good(): pass
"""


def test_all_that_failed_is_tried_again(tmp_path: Path) -> None:
    """Also what could not begin, and what workers call by their group's name."""
    (tmp_path / "test_bad.py").write_text(BAD_TESTS)
    here = ["-c", "/dev/null", "--rootdir", str(tmp_path), "-o", "cache_dir=cache"]
    names: list[str] = []
    for workers in (["-n", "2", "--dist", "loadgroup"], ["-n", "0"]):
        command = [sys.executable, "-m", "pytest", *here, *workers, *names]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stdout
        names = again.failed(tmp_path / "cache/v/cache/lastfailed")
    assert names == [f"test_bad.py::test_{n}" for n in ("cannot_begin[a@b]", "grouped", "plain")]
    assert "2 failed, 1 error in" in done.stdout
