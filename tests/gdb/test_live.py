"""gdb with the extension on running guests: its data against the guest's own and against xv6-inspect's."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.harness import tree
from tests.harness.guest import Boot, Guest
from tools.gdb.commands import COMMANDS

EXTENSION = tree.ROOT / "tools" / "gdb" / "xv6.py"
INSPECT = tree.ROOT / "tools" / "gdb" / "xv6-inspect"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def start_gdb(port: int, commands: list[str]) -> subprocess.Popen[str]:
    """gdb on the guest at `port`, carrying out commands and letting the guest go on."""
    words = ["gdb-multiarch", "-q", "-nx", "-batch"]
    script = ["set confirm off", "set pagination off", "set width 0", f"source {EXTENSION}"]
    for command in [*script, f"target remote 127.0.0.1:{port}", *commands, "detach"]:
        words += ["-ex", command]
    return subprocess.Popen(
        [*words, str(tree.KERNEL)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def gdb(port: int, *commands: str) -> list[str]:
    """What each command printed."""
    marked = [part for i, c in enumerate(commands) for part in (f"echo <{i}>\\n", c)]
    output, _ = start_gdb(port, [*marked, f"echo <{len(commands)}>\\n"]).communicate(timeout=600)
    parts = re.split(r"<\d+>\n", output)
    assert len(parts) == len(commands) + 2, output
    return parts[1:-1]


def refused(command: str) -> str:
    """A gdb command that prints the error `command` ends with, where a script would stop."""
    python = f"try: gdb.execute({command!r})\\nexcept gdb.error as e: print(e)"
    return f'python exec("{python}")'


def inspect(guest: Guest, *words: str) -> dict[str, Any]:
    """The same through the RAM file."""
    command = [
        str(INSPECT),
        "--kernel",
        str(tree.KERNEL),
        "--ram",
        str(guest.ram),
        *words,
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode < 2, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def guest_with_port(boot: Boot, **options: Any) -> tuple[Guest, int]:
    """A guest that runs, and listens for gdb at a port."""
    port = free_port()
    return boot(extra=("-gdb", f"tcp:127.0.0.1:{port}"), **options), port


def test_gdb_sees_what_the_guest_says(boot: Boot) -> None:
    """ps, page tables, sharing, trace and convenience functions, each against a second source."""
    guest, port = guest_with_port(boot)
    guest.run("crypto_cli")
    said = {
        int(row[0]): row[-1]
        for line in guest.run("ps").splitlines()
        if (row := line.split()) and row[0].isdigit()
    }
    ps, table, check, trace, values, kernel, locks = gdb(
        port,
        "ps -b --json",
        "pagetable 2 --json",
        "shmem check --json",
        "shmtrace --last 0 --json",
        'printf "%d %s %lx\\n", $proc("sh").pid, $proc(2).name, $pa(0x10, 2)',
        "pagetable kernel --check --json",
        "locks --json",
    )
    processes = {p["pid"]: p for p in json.loads(ps)["processes"]}
    assert {p: processes[p]["name"] for p in processes} == {
        p: n for p, n in said.items() if n != "ps"
    }
    server = [f["function"] for f in processes[2]["frames"]]
    assert server[0] == "sched" and "usertrap" in server and server[-1] == "_main"
    ranges = json.loads(table)["ranges"]
    assert ranges == inspect(guest, "pagetable", "2")["ranges"]
    assert {"text", "data", "stack"} <= {r["what"].split(" ")[0] for r in ranges}
    assert json.loads(check)["findings"] == [] and json.loads(kernel)["findings"] == []
    names = [e["event"] for e in json.loads(trace)["events"]]
    for first, then in zip(
        ("enqueue", "dequeue", "map", "unmap"), ("dequeue", "map", "unmap", "complete")
    ):
        assert names.index(first) < names.index(then)
    pid, name, pa = values.split()
    assert said[int(pid)] == "sh" and name.startswith("crypto_srv")
    assert int(pa, 16) == ranges[0]["pa"] + 0x10
    assert json.loads(locks)["locks_seen"] > 100 and json.loads(locks)["deadlocks"] == []


def test_packets(built: None) -> None:
    """A table costs two packets for each of its pages and two more; ps of 64 slots, fifteen."""
    command = [str(tree.ROOT / "tools/bench/debugger"), "--check", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_command(boot: Boot) -> None:
    """Each has help, --json, options to complete, and one line for what it does not know."""
    words = {"walk": "0x1000 init", "snapshot": "one", "diff": "one"}
    names = [command.name for command in COMMANDS]
    script = []
    for name in names:
        usual = f"{name} {words.get(name, '')}"
        script += [f"help {name}", f"{name} --help", f"{usual} --json", f"complete {name} --"]
        script.append(refused(f"{usual} --nonsense"))
    port = guest_with_port(boot)[1]
    answers = gdb(port, *script)
    for i, name in enumerate(names):
        about, usage, found, options, error = answers[5 * i : 5 * i + 5]
        assert len(about.strip()) > 40 and "Undefined" not in about, name
        assert usage.startswith(f"usage: {name}"), usage
        assert isinstance(json.loads(found), dict), found
        assert f"{name} --json" in options, options
        assert "nonsense" in error and error.count("\n") == 1, error


def test_breakpoint_in_one_program(boot: Boot) -> None:
    """Every program has code at the same addresses; only the one asked for stops there, with its own source."""
    guest, port = guest_with_port(boot)
    script = [
        "user echo main",
        "user cat cat.c:1",
        "continue",
        "ps --json",
        "backtrace 1",
        "delete",
    ]
    debugger = start_gdb(port, script)
    assert debugger.stdout
    for line in debugger.stdout:
        if "stops only in processes of cat" in line:
            break
    guest.run("free -q")
    guest.keys("echo one two\n")
    output, _ = debugger.communicate(timeout=600)
    guest.expect("one two")
    guest.expect(r"\$ $")
    rows = json.loads(output[output.index('{\n "processes"') : output.rindex("}") + 1])["processes"]
    running = [p["name"] for p in rows if p["state"] == "RUNNING"]
    assert "echo" in running and "echo.c" in output


def test_from_the_first_instruction(built: None, tmp_path: Path) -> None:
    """In machine mode, before paging, and in the scheduler; memory comes from the launcher's RAM file."""
    port = free_port()
    image = tree.copy_image(tree.IMAGE, tmp_path / "fs.img")
    command = [str(tree.RUN), "--gdb", str(port), "--image", str(image)]
    guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        off, kernel, ps, trace, _, _, file, later = gdb(
            port,
            refused("pagetable"),
            refused("pagetable kernel"),
            "ps",
            refused("shmtrace"),
            "break scheduler",
            "continue",
            "python from tools.gdb import skin; print(type(skin.session().inferior.file).__name__)",
            "pagetable --json",
        )
    finally:
        guest.terminate()
        guest.wait()
    assert off == "hart 0 has paging off (satp 0x0): addresses are physical\n"
    assert kernel == "the kernel has no page table yet: paging is not set up\n"
    assert ps == "note: no process has been made yet\n"
    assert trace == "this kernel has no trace rings yet\n"
    assert file == "FileMemory\n"
    assert {"kernel text", "kernel data"} <= {r["what"] for r in json.loads(later)["ranges"]}
