"""Stops at which a student needs the commands most: two harts in a deadlock, and a panic, with gdb and in a core."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.gdb.test_live import EXTENSION, gdb, guest_with_port, inspect
from tests.harness import image, poke, tree
from tests.harness.guest import PANIC, Boot

# Each of two harts is caught as it enters the kernel, where it holds nothing, and made to call acquire() for a lock;
# then, with both locks taken, for the other's. From then on no debugger has a hand in it.
CROSS = r"""
python
def acquire(thread, lock):
    thread.switch()
    gdb.execute(f"set $a0 = (unsigned long)&{lock}")
    gdb.execute("set $pc = (unsigned long)&acquire")

def take(lock):
    gdb.execute("tbreak *usertrap", to_string=True)
    gdb.execute("continue", to_string=True)
    gdb.execute("set scheduler-locking on")
    acquire(gdb.selected_thread(), lock)
    gdb.execute("finish", to_string=True)
    return gdb.selected_thread()

one = take("ftable.lock")
next(t for t in gdb.selected_inferior().threads() if t.num != one.num).switch()
other = take("itable.lock")
acquire(one, "itable.lock")
acquire(other, "ftable.lock")
gdb.execute("set scheduler-locking off")
end
"""


@pytest.mark.no_audit("two harts hang")
def test_a_deadlock_is_explained(boot: Boot, built: None, tmp_path: Path) -> None:
    """Two harts hold a lock each and spin for the other's: the cycle is named, in gdb and from the memory file."""
    guest, port = guest_with_port(boot, image=image.make(tmp_path, ["spin"]), cpus=2)
    for _ in range(2):
        guest.run("spin 1000000 &")
    script = tmp_path / "cross.gdb"
    script.write_text(CROSS)
    gdb(port, f"source {script}")
    deadline = time.monotonic() + guest.timeout
    while not inspect(guest, "locks")["deadlocks"]:
        assert time.monotonic() < deadline, "the harts don't wait for each other"
    text, ps, locks = gdb(port, "locks", "ps -b --json", "locks --json")
    data = json.loads(locks)
    (cycle,) = data["deadlocks"]
    assert sorted(lock for _, lock in cycle) == ["ftable.lock", "itable.lock"]
    assert sorted(who for who, _ in cycle) == ["hart 0", "hart 1"]
    assert inspect(guest, "locks")["deadlocks"] in ([cycle], [cycle[::-1]])
    said = re.search(r"note: deadlock: (.*)", text)
    who = r"hart \d, running pid \d+ \(spin\)"
    step = rf"{who} waits for [fi]table\.lock, which {who} holds, taken in from_user \(\S+:\d+\)"
    assert said and re.fullmatch(rf"{step}; {step}", said[1])
    stacks = [
        [f["function"] for f in p["frames"]]
        for p in json.loads(ps)["processes"]
        if p["name"] == "spin"
    ]
    assert len(stacks) == 2 and all("acquire_contended" in stack for stack in stacks)


@pytest.mark.no_audit("the kernel has panicked")
@pytest.mark.parametrize("cpus", [1, 3])
def test_after_a_panic(boot: Boot, tmp_path: Path, cpus: int) -> None:
    """gdb shows where it happened; the commands read the dead guest, and a core of it, as they read a live one."""
    guest, port = guest_with_port(boot, cpus=cpus)
    guest.forgive(PANIC)
    guest.run("crypto_cli")
    with poke.at_rest(guest) as kernel:
        poke.write(
            guest, poke.place(kernel, "kmem", "freelist"), 0x7FFF_FFFF
        )  # no frame has this number
    guest.keys("crypto_cli\n")
    guest.expect(r"panic: .*\r?\n  on hart (\d), pid \d+ sh")
    hart = int(re.findall(r"on hart (\d)", guest.console)[-1])
    core = tmp_path / "core"
    commands = [
        "ps -b --json",
        "pagetable sh --json",
        "shmtrace --last 0 --json",
        "locks --json",
        "shmem queue --json",
    ]
    where, *live = gdb(
        port, f"thread apply {hart + 1} backtrace", *commands, f"monitor dump-guest-memory {core}"
    )
    assert (
        re.search(r" panic \(.* at kernel/", where) and " kalloc" in where and " syscall " in where
    )
    ps, table, trace, *_ = map(json.loads, live[:-1])
    shell = next(p for p in ps["processes"] if p["name"] == "sh")
    functions = [f["function"] for f in shell["frames"]]
    assert shell["hart"] == hart and "panic" in functions and "main" in functions
    assert {"text", "stack"} <= {r["what"].split()[0] for r in table["ranges"]}
    last = trace["events"][-1]
    assert (last["event"], last["name"]) != ("", "") and "complete" in {
        e["event"] for e in trace["events"]
    }
    dead = dict(zip(commands, in_core(core, commands)))
    for command, answer in zip(commands, live):
        assert strip(json.loads(dead[command])) == strip(json.loads(answer)), command


def strip(data: dict[str, object]) -> dict[str, object]:
    """What a command says, without notes about how it was read."""
    return {key: value for key, value in data.items() if key != "notes"}


def in_core(core: Path, commands: list[str]) -> list[str]:
    """What each command prints in a gdb that has a core."""
    words = [
        "gdb-multiarch",
        "-q",
        "-nx",
        "-batch",
        "-ex",
        f"source {EXTENSION}",
        str(tree.KERNEL),
        str(core),
    ]
    for i, command in enumerate(commands):
        words[-2:-2] = ["-ex", f"echo <{i}>\\n", "-ex", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    return re.split(r"<\d+>\n", done.stdout)[1:]
