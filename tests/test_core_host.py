"""The crypto queue and the frame allocator on the host, as they are, under the sanitizers, with threads for harts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness import tree

SOURCES = tree.ROOT / "tests" / "core_host"
KERNEL = ("kernel/ipc/shmem_queue.c", "kernel/mm/kalloc.c")
RAM_BASE = 0x8000_0000
# Where each sanitizer lets the direct map lie.
MAPS = {"address,undefined": 0x2000_0000_0000, "thread": 0x40_0000_0000}


@pytest.mark.parametrize("sanitizers", MAPS)
def test_queue_and_frames(tmp_path: Path, sanitizers: str) -> None:
    """No race, no bad access; nothing is left in the queue, and as many frames are free as before."""
    program = tmp_path / "core_host"
    flags = (
        "-std=gnu11 -ffreestanding -g -O1 -Wall -Wextra -Werror -fno-sanitize-recover=all -no-pie"
    )
    sources = [SOURCES / "host.c", *(tree.ROOT / name for name in KERNEL)]
    command = ["cc", *flags.split(), f"-fsanitize={sanitizers}", "-fno-pie", "-mcmodel=large"]
    where = MAPS[sanitizers]  # the kernel's image ends where RAM begins
    command += [
        f"-DHOST_MAP={where:#x}UL",
        f"-Wl,--defsym=end={where + RAM_BASE:#x}",
        f"-I{tree.ROOT}/tests/host",
        f"-I{tree.ROOT}",
    ]
    subprocess.run([*command, "-o", program, *sources, "-lpthread"], check=True)
    for what, rounds in (("queue", "150"), ("frames", "40")):
        for seed in "12":
            run = [str(program), what, seed, rounds]
            done = subprocess.run(run, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stdout + done.stderr[-4000:]
