"""Guests that are there already, dead ones too: after a panic the last events before it, from the memory file, a
core and the debug port; a recording that is interrupted leaves a whole trace and no guest.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import tree
from tests.harness.guest import PANIC, Boot, Guest
from tests.trace.test_files import xv6_trace
from tests.trace.test_live import TOOL
from tools.guest import Kernel
from tools.guest.elf import Elf
from tools.guest.memory import RAM_BASE, FileMemory
from tools.trace import trace as normaliser
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

NOWHERE = 0x7FFF_FFFF  # no frame has this number


def break_the_free_list(guest: Guest) -> None:
    """From the host: the next allocation of a frame is a fault in the kernel."""
    kernel = Kernel(Elf(str(tree.KERNEL)), FileMemory(str(guest.ram)))
    found = kernel.elf.variable("kmem")
    assert found
    field = found[1].find("freelist")
    assert field
    place = kernel.to_pa(found[0] + field.offset)
    assert place
    with open(guest.ram, "r+b") as ram:
        ram.seek(place - RAM_BASE)
        ram.write(NOWHERE.to_bytes(field.type.size, "little"))


def monitor(path: Path, *commands: dict[str, Any]) -> None:
    """Sends commands to QEMU's machine protocol, waiting for each to be done."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        answers = client.makefile("r")
        for command in ({"execute": "qmp_capabilities"}, *commands):
            client.sendall(json.dumps(command).encode() + b"\n")
            while "return" not in (answer := json.loads(answers.readline())):
                assert "error" not in answer, answer


def last_call(trace: Trace) -> tuple[str, str]:
    """The last system call that was entered: its name, and the program's."""
    i = int(trace.of("sys_enter")[-1])
    number = int(trace.arg("sys_enter", "call", trace.of("sys_enter")[-1:])[0])
    return trace.table.values["syscall"][number], trace.names[trace.programs[i]]


@pytest.mark.no_audit("the kernel has panicked")
def test_the_last_events_before_a_panic(boot: Boot, tmp_path: Path) -> None:
    """A shell's fork finds no frame: memory file, core and gdb all end with that call; the status is 1."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    control = tmp_path / "qmp"
    guest = boot(
        cpus=2,
        extra=(
            *("-append", "trace=all"),
            *("-qmp", f"unix:{control},server=on,wait=off"),
            *("-gdb", f"tcp:127.0.0.1:{port}"),
        ),
    )
    guest.forgive(PANIC)
    guest.run("crypto_cli")
    break_the_free_list(guest)
    guest.keys("crypto_cli\n")
    guest.expect(r"panic: .*\r?\n  on hart \d, pid \d+ sh")
    core = tmp_path / "core"
    dump = {"paging": False, "protocol": f"file:{core}"}
    monitor(control, {"execute": "dump-guest-memory", "arguments": dump})
    sources: list[tuple[str, str | Path]] = [
        ("--ram", guest.ram),
        ("--core", core),
        ("--gdb", port),
    ]
    for source in sources:
        path = tmp_path / "dead.xt"
        status, out, err = xv6_trace("attach", *source, "-o", path)  # ends by itself
        assert status == 1 and "panicked" in err and re.search(r": \d+ events\n", out), err
        trace = normaliser.load(path)
        assert last_call(trace) == ("fork", "sh")
        assert len(trace.of("complete")) == 1
        assert {"init", "crypto_srv", "sh"} <= {p.decode() for p in trace.processes["name"]}
        assert xv6_trace("check", path)[0] == 0


@pytest.mark.parametrize("words", [["attach", "-o", "FILE"], ["show", "--follow", "-e", "shm"]])
def test_the_guest_ends_while_one_watches(boot: Boot, tmp_path: Path, words: list[str]) -> None:
    """What follows a guest ends with it, in peace, and has seen all."""
    guest = boot(audited=False, cpus=1)
    command = [str(tmp_path / "run.xt") if w == "FILE" else w for w in words]
    with subprocess.Popen(
        [TOOL, *command, "--ram", guest.ram],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tree.ROOT,
    ) as tool:
        assert tool.stdout
        seen = tool.stdout.readline() if words[0] == "show" else ""  # it watches
        while words[0] == "attach" and not (tmp_path / "run.xt").exists():
            time.sleep(0.1)
        guest.run("crypto_cli")
        while "complete" not in seen and words[0] == "show":
            seen += tool.stdout.readline()
        guest.kill()
        out, err = tool.communicate(timeout=300)
    assert tool.returncode == 0, err
    if words[0] == "show":
        assert "the guest has ended" in err
    else:
        assert len(normaliser.load(tmp_path / "run.xt").of("complete")) == 1


def guest_of(tool: "subprocess.Popen[str]") -> int:
    """QEMU's pid in the guest that a recording booted; 0 while there is none."""
    for run in (tree.BUILD / "run").glob("*/guest.json"):
        try:
            parent = int(
                Path(f"/proc/{run.parent.name}/stat").read_text().rsplit(")")[1].split()[1]
            )
            if parent == tool.pid:
                return int(json.loads(run.read_text())["qemu"])
        except (OSError, ValueError):
            continue
    return 0


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


def programs(path: Path) -> list[str]:
    """The programs that ran so far in a recording that goes on."""
    try:
        return normaliser.load(path).names
    except TraceError:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_recording(built: None, tmp_path: Path, number: signal.Signals) -> None:
    """^C and SIGTERM end a recording as its last line would; even SIGKILL leaves a trace and no guest."""
    path = tmp_path / "run.xt"
    with subprocess.Popen(
        [TOOL, "record", "-o", path, "--cpus", "1", "--", "crypto_cli; sleep 1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tree.ROOT,
    ) as tool:
        while tool.poll() is None:
            if "sleep" in programs(path):
                break
            time.sleep(0.2)
        qemu = guest_of(tool)
        assert qemu and lives(qemu)
        os.kill(tool.pid, number)
        out, err = tool.communicate(timeout=300)
    if number != signal.SIGKILL:
        assert tool.returncode == 0 and "interrupted" in err, err
        assert re.fullmatch(rf"{re.escape(str(path))}: \d+ events\n", out)
    while lives(qemu):  # until the test's own limit
        time.sleep(0.1)
    assert not any(tree.BUILD.glob(f"xv6-trace-{tool.pid}-*"))
    trace = normaliser.load(path)
    assert len(trace.of("complete")) == 1 and trace.lost == 0
    assert xv6_trace("check", path)[0] == 0
