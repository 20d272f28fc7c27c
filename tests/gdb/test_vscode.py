"""F5 in VS Code: this test does what its C/C++ debug adapter does with .vscode/launch.json and tasks.json, in the same
order and with the same commands of gdb's machine interface (GDB manual, chapter GDB/MI).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.gdb.test_live import free_port
from tests.harness import tree

FOLDER = tree.ROOT / ".vscode"
PORT = "26000"  # of the files; each run of the test takes a free one instead
PATIENCE = 300  # seconds one wait may take on a loaded machine


def settings(name: str, port: int) -> Any:
    """One of the files as VS Code reads it: with comments, trailing commas, and its variables put in."""
    text = (FOLDER / name).read_text()
    text = re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', lambda m: m[1] or "", text, flags=re.S)
    text = re.sub(r",(\s*[]}])", r"\1", text)
    assert PORT in text
    text = text.replace(PORT, str(port)).replace("${workspaceFolder}", str(tree.ROOT))
    assert "${" not in text, "a variable this test does not know"
    return json.loads(text)


class Adapter:
    """The debug adapter's end of gdb: sends commands, and reads results and stops."""

    def __init__(self, launch: dict[str, Any]) -> None:
        words = [
            launch["miDebuggerPath"],
            "--interpreter=mi",
            *shlex.split(launch["miDebuggerArgs"]),
        ]
        self.gdb = subprocess.Popen(
            words,
            cwd=launch["cwd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.number = 1000
        self.timer = threading.Timer(PATIENCE, self.gdb.kill)
        self.timer.start()

    def end(self) -> None:
        """Leaves gdb."""
        self.timer.cancel()
        self.gdb.kill()
        self.gdb.wait()

    def lines(self) -> Iterator[str]:
        """What gdb says."""
        assert self.gdb.stdout is not None
        for line in self.gdb.stdout:
            yield line.rstrip("\n")
        pytest.fail("gdb has ended, or took too long")

    def send(self, command: str) -> tuple[str, str]:
        """The result of a command, which must not be an error; and what it printed."""
        assert self.gdb.stdin is not None
        self.number += 1
        self.gdb.stdin.write(f"{self.number}{command}\n")
        self.gdb.stdin.flush()
        printed = []
        for line in self.lines():
            if line.startswith("~"):
                printed.append(json.loads(line[1:]))
            if line.startswith(f"{self.number}^"):
                assert not line.startswith(f"{self.number}^error"), (command, line)
                return line, "".join(printed)
        raise AssertionError

    def console(self, command: str) -> str:
        """What a command of gdb's own prints, such as `-exec ps` in VS Code's debug console."""
        quoted = command.replace("\\", "\\\\").replace('"', '\\"')
        return self.send(f'-interpreter-exec console "{quoted}"')[1]

    def stopped(self) -> dict[str, str]:
        """Waits for the guest to stop; function, file and line, as VS Code needs them to show the place."""
        line = next(line for line in self.lines() if line.startswith("*stopped"))
        return dict(re.findall(r'(reason|func|fullname|line|bkptno)="([^"]*)"', line))


@pytest.fixture
def port() -> int:
    """Where QEMU listens for gdb."""
    return free_port()


@pytest.fixture
def task(port: int, built: None) -> Iterator[pexpect.spawn]:
    """The preLaunchTask in a terminal, as far as its problem matcher waits."""
    (found,) = settings("tasks.json", port)["tasks"]
    (launch,) = settings("launch.json", port)["configurations"]
    assert launch["preLaunchTask"] == found["label"]
    assert found["type"] == "shell" and found["isBackground"]
    made = pexpect.spawn(
        "/bin/sh", ["-c", found["command"]], cwd=str(tree.ROOT), encoding="utf-8", timeout=PATIENCE
    )
    try:
        made.expect("(?m)" + found["problemMatcher"]["background"]["endsPattern"])
        yield made
    finally:
        made.sendcontrol("a")
        made.send("x")
        made.expect(pexpect.EOF)
        made.close(force=True)


def source_line(path: Path, text: str) -> int:
    """The number of the one line that has a text."""
    (found,) = [i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return found


@pytest.fixture
def adapter(task: pexpect.spawn, port: int) -> Iterator[Adapter]:
    """gdb as the launch configuration wants it, connected to the task's guest."""
    (launch,) = settings("launch.json", port)["configurations"]
    assert (launch["type"], launch["MIMode"], launch["stopAtConnect"]) == ("cppdbg", "gdb", True)
    made = Adapter(launch)
    try:
        for setup in launch["setupCommands"]:
            text = setup["text"]
            made.send(text) if text.startswith("-") else made.console(text)
        made.send(f'-file-exec-and-symbols "{launch["program"]}"')
        made.send(f'-target-select remote {launch["miDebuggerServerAddress"]}')
        yield made
    finally:
        made.end()


def test_f5(adapter: Adapter) -> None:
    """Stops at a line of the kernel, then in a program, at the file VS Code opens; our commands answer."""
    assert "no process has been made yet" in adapter.console("ps")
    kernel = tree.ROOT / "kernel" / "proc" / "exec.c"
    line = source_line(kernel, "struct image image = {")
    adapter.send(f'-break-insert -f "{kernel}:{line}"')
    adapter.send("-exec-continue")
    stop = adapter.stopped()
    assert (stop["reason"], stop["func"]) == ("breakpoint-hit", "exec")
    assert (Path(stop["fullname"]), int(stop["line"])) == (kernel, line)
    assert "): root 0x" in adapter.console("pagetable")
    assert 'name="path"' in adapter.send("-stack-list-variables --all-values")[0]
    assert 'value="pid 1 (init) ' in adapter.send("-data-evaluate-expression proc[0]")[0]
    adapter.send("-var-create watched * proc[0]")
    children = adapter.send("-var-list-children --all-values watched")[0]
    assert 'exp="pagetable"' in children and 'exp="kstack"' in children

    assert "stops only in processes of sh" in adapter.console("user sh main")
    adapter.send("-break-delete 1")
    adapter.send("-exec-continue")
    stop = adapter.stopped()
    assert (stop["func"], Path(stop["fullname"])) == ("main", tree.ROOT / "user" / "sh.c")
    assert adapter.send("-data-evaluate-expression argc")[0].endswith('value="1"')
    for command, shown in (
        ("pagetable", "(sh): root 0x"),
        ("walk $pc", "4K page at 0x"),
        ("ps -b", "sh: main  user/sh.c"),
        ("shmem", "requests in the queue"),
        ("locks", "lock"),
        ("frames", "kernel stacks"),
        ("shmtrace --last 3", "ARGUMENTS"),
        ("print $proc(1).pid", "= 1"),
    ):
        assert shown in adapter.console(command), command
    adapter.send("-exec-next")
    stop = adapter.stopped()
    assert (stop["reason"], stop["func"]) == ("end-stepping-range", "main")
