"""The kernel's file system on the host: tests/fs_host, built and run.

It compiles kernel/fs as it is over a disk in memory that reorders transfers.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.harness import tree

SOURCES = tree.ROOT / "tests" / "fs_host"
FLAGS = (
    "-std=gnu11 -g -O1 -Wall -Wextra -Werror -fno-sanitize-recover=all "
    "-fno-omit-frame-pointer -Dsleep=kernel_sleep "
    "-DMIN_BUFFERS=72"  # what eight processes hold and the log: the cache is always too small
)
BLOCK = 1024
REFUSED = 3  # the harness's status when the kernel refuses the disk


def build(folder: Path, sanitizers: str = "") -> Path:
    """Compiles kernel/fs and the harness with the given sanitizers, or fast; returns the program."""
    how = f"-fsanitize={sanitizers}" if sanitizers else "-O2"
    flags = [*FLAGS.split(), how, f"-I{tree.ROOT}/tests/host", f"-I{tree.ROOT}"]
    program = folder / "fs_host"
    objects = []
    for source in [
        *sorted((tree.ROOT / "kernel" / "fs").glob("*.c")),
        *sorted(SOURCES.glob("*.c")),
    ]:
        target = folder / f"{source.parent.name}_{source.stem}.o"
        kernel = ["-ffreestanding"] if source.parent != SOURCES else []
        subprocess.run(["cc", *flags, *kernel, "-c", "-o", target, source], check=True)
        objects.append(target)
    subprocess.run(["cc", *flags, "-o", program, *objects, "-lpthread"], check=True)
    return program


def run(program: Path, *arguments: str | int | Path, statuses: tuple[int, ...] = (0,)) -> str:
    """Runs the harness, which must end with one of the statuses. Returns what it printed."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # the model never frees a node
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode in statuses, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def new_image(path: Path, blocks: int) -> Path:
    """An empty file system."""
    subprocess.run([tree.MKFS, "-b", str(blocks), path], check=True)
    return path


def findings(image: Path) -> list[str]:
    """What fsck says of an image."""
    done = subprocess.run([tree.FSCK, image], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def remount(program: Path, image: Path) -> int:
    """Boots on an image, which must then be clean; returns the state's hash."""
    assert [line for line in findings(image) if "an orphan" not in line] == []
    state = int(run(program, "mount", image).splitlines()[-1], 16)
    assert findings(image) == []
    return state
