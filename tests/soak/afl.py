"""Coverage-guided fuzzing (AFL++) of fsck, mkfs and the kernel's file system on damaged images, under sanitizers

Each target gets its share of the minutes. What crashed or hung it stays in build/fuzz/TARGET/default.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.harness import fs_host, tree
from tests.soak import figure

MINUTES = 15
FUZZ = tree.BUILD / "fuzz"
COMPILER = "afl-clang-fast"
ENVIRONMENT = {
    **os.environ,
    "AFL_USE_ASAN": "1",
    "AFL_USE_UBSAN": "1",
    "AFL_NO_UI": "1",
    "AFL_SKIP_CPUFREQ": "1",
    "AFL_NO_AFFINITY": "1",
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0:symbolize=0",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:symbolize=0",
}


def program(name: str, sources: list[Path], *flags: str) -> Path:
    """Compiles a target with AFL's compiler; returns it."""
    out = FUZZ / name / "target"
    command = [COMPILER, "-std=gnu11", "-g", "-O1", "-w", *flags, f"-I{tree.ROOT}", "-o", str(out)]
    subprocess.run([*command, *map(str, sources), "-lpthread"], check=True, env=ENVIRONMENT)
    return out


def seeds(name: str, images: bool) -> Path:
    """Inputs to start from: small sound images, or files."""
    folder = FUZZ / name / "seeds"
    folder.mkdir(parents=True)
    files = [tree.ROOT / "README.md", tree.BUILD / "fs" / "echo"]
    if not images:
        for file in files:
            shutil.copy(file, folder)
        return folder
    contents: list[list[Path]] = [[], files[:1], files]
    for number, content in enumerate(contents):
        image = folder / f"image{number}"
        subprocess.run([tree.MKFS, "-b", "96", image, *content], check=True)
    return folder


def fuzz(
    name: str, seconds: float, images: bool, sources: list[Path], flags: list[str], *call: str
) -> int:
    """Fuzzes one target; prints its figures, returns how many inputs crashed or hung it."""
    shutil.rmtree(FUZZ / name, ignore_errors=True)
    inputs = seeds(name, images)
    target = program(name, sources, *flags)
    command = ["afl-fuzz", "-V", str(int(seconds)), "-t", "5000", "-m", "none", "-i", str(inputs)]
    command += ["-o", str(FUZZ / name), "--", str(target), *call]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    stats = FUZZ / name / "default" / "fuzzer_stats"
    assert stats.exists(), done.stdout[-3000:] + done.stderr[-1000:]
    found = dict(re.findall(r"^(\w+) +: (.*)$", stats.read_text(), re.M))
    figure(
        name,
        f"{found['execs_done']} runs, {found['corpus_count']} inputs kept, {found['bitmap_cvg']} of the branches,"
        f" {found['saved_crashes']} crashes, {found['saved_hangs']} hangs",
    )
    return int(found["saved_crashes"]) + int(found["saved_hangs"])


def run(minutes: float, seed: int) -> None:
    """Fuzzes each target for a third of the time; AFL draws its own dice."""
    del seed
    share = minutes * 60 / 3
    mkfs = tree.ROOT / "mkfs"
    kernel = [
        *sorted((tree.ROOT / "kernel" / "fs").glob("*.c")),
        *sorted(fs_host.SOURCES.glob("*.c")),
    ]
    flags = [
        f"-I{tree.ROOT}/tests/host",
        "-ffreestanding",
        "-Dsleep=kernel_sleep",
        "-DMIN_BUFFERS=72",
    ]
    bad = fuzz("fsck", share, True, [mkfs / "fsck.c"], [], "@@")
    bad += fuzz("mkfs", share, False, [mkfs / "mkfs.c"], [], "/dev/null", "@@")
    bad += fuzz("fs", share, True, kernel, flags, "badblock", "@@", "1", "40")
    assert bad == 0, f"{bad} inputs; they are in {FUZZ}"
