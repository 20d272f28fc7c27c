"""The console under load: pasted input, long lines, many writers, kernel messages, a panic."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import image, tree
from tests.harness.guest import PANIC, PROMPT, Boot, Guest
from tests.test_boot import host_seconds

PASTE = 100  # bytes typed at a time


def paste(guest: Guest, text: str) -> None:
    """Types text in pieces, each as soon as the echo of the one before ends."""
    for start in range(0, len(text), PASTE):
        piece = text[start : start + PASTE]
        guest.keys(piece)
        guest.expect(re.escape(piece[-8:]).replace("\\\n", "\r?\n"))


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_pasting_loses_nothing(boot: Boot, cpus: int) -> None:
    """Lines pasted faster than the reader takes them all arrive."""
    rng = random.Random(cpus)
    lines = ["".join(rng.choices("abc xyz", k=rng.randrange(1, 90))) + "\n" for _ in range(700)]
    text = "".join(lines)
    guest = boot(cpus=cpus)
    guest.keys("wc\n")
    paste(guest, text)
    guest.keys("\x04")
    words = len(text.split())
    guest.expect(rf"(?m)^{len(lines)} {words} {len(text)} \r?\n" + PROMPT)


def test_typing_ahead_of_a_busy_shell(boot: Boot) -> None:
    """Commands typed while another runs are read when the shell comes to them."""
    guest = boot()
    guest.keys("sleep 20\n")
    text = "".join(f"echo number {i}\n" for i in range(150))  # more than the first line's time
    paste(guest, text)
    for i in range(150):
        guest.expect(rf"(?m)^(?:\$ )?number {i}\r?$")
    guest.expect(PROMPT)


def test_a_line_longer_than_the_buffer(boot: Boot) -> None:
    """A line without an end reaches its reader in pieces instead of blocking the console."""
    guest = boot()
    guest.keys("wc\n")
    paste(guest, "x" * 20000)
    guest.keys("\n\x04")
    guest.expect(r"1 1 20001 \r?\n" + PROMPT)


def test_keys_that_edit(boot: Boot) -> None:
    """^H stops at the line's start; ^U gives up a line of any length; ^D after text ends it."""
    guest = boot()
    guest.keys("\x08\x08\x7fecho first\n")
    guest.expect(r"(?m)^first\r?\n" + PROMPT)
    guest.keys("echo " + "no " * 30)
    guest.keys("\x15echo second\n")
    guest.expect(r"(?m)^second\r?\n" + PROMPT)
    guest.keys("wc\n")
    guest.keys("abc\x04")
    guest.expect(r"0 1 3 \r?\n" + PROMPT)
    assert guest.run("echo alive") == "alive\n"


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_lines_are_never_mixed(boot: Boot, built: None, tmp_path: Path, cpus: int) -> None:
    """Lines of many processes and of the kernel each stay whole, and none is lost."""
    guest = boot(image=image.make(tmp_path, ["chatter"]), cpus=cpus)
    processes, lines = 8, 50
    text = guest.run(f"chatter {processes} {lines}")
    ours = re.compile(r"process (\d+) writes its line number (\d+) and nothing comes in between")
    kernels = re.compile(
        r"store page fault: pid \d+ chatter, pc 0x[0-9a-f]+, address 0x[0-9a-f]+: killed"
    )
    seen = [0] * processes
    faults = 0
    for line in text.splitlines():
        if match := ours.fullmatch(line):
            assert int(match[2]) == seen[int(match[1])], "a process's own lines keep their order"
            seen[int(match[1])] += 1
        else:
            assert kernels.fullmatch(line), line
            faults += 1
    assert seen == [lines] * processes
    assert faults == processes * lines // 10


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.mark.no_audit("the kernel has panicked")
@pytest.mark.parametrize("cpus", [1, 3])
def test_a_panic_says_where_and_stops_every_hart(boot: Boot, tmp_path: Path, cpus: int) -> None:
    """Message, hart, process, call chain that resolves to functions; then silence."""
    port = free_port()
    spinning = image.make(tmp_path, ["spin"])
    guest = boot(image=spinning, cpus=cpus, extra=("-gdb", f"tcp:127.0.0.1:{port}"))
    guest.forgive(PANIC)
    guest.run("spin 200000 &")
    attached = tmp_path / "attached"
    script = [
        "set arch riscv:rv64",
        f"target remote 127.0.0.1:{port}",
        "hbreak sys_sleep",
        f"shell touch {attached}",
        "continue",
        "set $a0 = rank_names[0]",
        "jump *panic",
    ]
    commands = [word for command in script for word in ("-ex", command)]
    gdb = subprocess.Popen(
        ["gdb-multiarch", "-q", "-nx", "-batch", *commands, str(tree.KERNEL)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not attached.exists() and gdb.poll() is None:
        time.sleep(0.1)
    try:
        guest.keys("sleep 1\n")
        guest.expect(r"panic: tree\r?\n  on hart \d, pid \d+ \w+\r?\n(?:  at 0x[0-9a-f]+\r?\n){2,}")
        addresses = re.findall(r"(?m)^  at (0x[0-9a-f]+)$", guest.console)
        names = subprocess.run(
            ["riscv64-linux-gnu-addr2line", "-fe", tree.KERNEL, *addresses],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "syscall" in names and "usertrap" in names
        assert guest.console.count("panic") == 1
        used = host_seconds(guest)
        time.sleep(2)
        assert host_seconds(guest) - used < 0.5, "a hart goes on"
    finally:
        gdb.kill()
        gdb.wait()
