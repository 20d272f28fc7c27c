"""From power-on to the prompt, and the console's line editing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import image, tree
from tests.harness.guest import Boot, Guest


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_boot_names_every_hart_and_the_server(boot: Boot, cpus: int, debug: bool) -> None:
    """One line for each hart, one for the server, and the prompt."""
    guest = boot(cpus=cpus, debug=debug)
    lines = guest.console.splitlines()
    for hart in range(cpus):
        assert sum(f"hart {hart} starting" in line for line in lines) == 1, lines
    assert not any(f"hart {cpus} " in line for line in lines), lines
    assert lines.count("crypto_srv: process 2 serves crypto requests") == 1, lines


@pytest.mark.parametrize("mem", ["4M", "64M", "1G"])
def test_memory_is_what_the_machine_has(boot: Boot, mem: str) -> None:
    """The kernel finds the end of memory itself: all but 3 MiB and a tenth is free after boot."""
    guest = boot(mem=mem)
    size = guest.info["mem"] // 4096
    free = int(guest.run("free -q"))
    assert size * 0.9 - (3 << 20) / 4096 < free < size


def host_seconds(guest: Guest) -> float:
    """Processor time QEMU has used, in seconds (proc(5): utime and stime of stat)."""
    with open(f"/proc/{guest.info['qemu']}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_guest_leaves_the_host_alone(boot: Boot) -> None:
    """Eight harts with nothing to do use less than 3 % of one host core (a ratio, not a time)."""
    guest = boot(cpus=8)
    used, started = host_seconds(guest), time.monotonic()
    time.sleep(10)
    used, elapsed = host_seconds(guest) - used, time.monotonic() - started
    assert used / elapsed < 0.03


def test_control_u_and_backspace_edit_the_line(boot: Boot) -> None:
    """^U drops the line, ^H and DEL the last character; what was dropped is never run."""
    guest = boot()
    guest.keys("echo wrong\x15echo rigt\x08ht\x7f\x7fht\n")
    guest.expect(r"\nright\r?\n\$ ")
    assert "\nwrong" not in guest.console


def test_control_d_ends_input_and_the_shell_comes_back(boot: Boot) -> None:
    """^D ends a reader's input; at the prompt it ends the shell, and init starts another."""
    guest = boot()
    guest.keys("cat\n")
    guest.keys("one line\n")
    guest.expect(r"one line\r?\none line\r?\n")
    guest.keys("\x04")
    guest.expect(r"\$ $")
    guest.keys("\x04")
    guest.expect(r"\$ $")
    assert guest.run("echo alive") == "alive\n"


def test_control_p_lists_processes(boot: Boot) -> None:
    """^P names the processes, and the line being typed survives it."""
    guest = boot()
    guest.keys("echo un")
    guest.keys("\x10")
    for name in ("init", "crypto_srv", "sh"):
        guest.expect(rf"\b{name}\b")
    guest.keys("harmed\n")
    guest.expect(r"\nunharmed\r?\n\$ ")


def test_init_is_tried_until_it_runs(boot: Boot, built: None, tmp_path: Path) -> None:
    """An init that exits while its file is missing comes back with the file; nothing panics."""
    guest = boot(image=image.make(tmp_path, replace={"init": "init_exits"}), audited=False)
    assert "init: exited with status 3, starting again\n" in guest.console
    assert "/init: can't be executed\n" in guest.console
    assert guest.run("echo hello") == "hello\n"


def test_a_disk_without_init_ends_the_machine(built: None, tmp_path: Path) -> None:
    """One line says what is missing; no panic, no hang."""
    disk = image.make(tmp_path, without=["init"])
    command = [str(tree.RUN), "--kernel", str(tree.KERNEL), "--image", str(disk)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    text = done.stdout.decode()
    assert "root disk refused: it has no /init that can be executed\n" in text
    assert "panic" not in text and done.returncode == 0
