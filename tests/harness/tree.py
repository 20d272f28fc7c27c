"""The tree under test: where its products are, and how they are built and copied.

Relies on the Makefile for everything that is built. A test that changes a tree works on a clone.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
KERNEL = ROOT / "kernel" / "kernel"
DEBUG_KERNEL = BUILD / "debug" / "kernel" / "kernel"
IMAGE = ROOT / "fs.img"
RUN = ROOT / "tools" / "run"
LOGS = BUILD / "test-logs"
MKFS = BUILD / "mkfs" / "mkfs"
FSCK = BUILD / "mkfs" / "fsck"


def make(
    *arguments: str, cwd: Path = ROOT, timeout: float = 1200
) -> subprocess.CompletedProcess[str]:
    """Runs make as a user would, apart from any make this process runs under.

    Returns the finished process, standard error merged into its output; the caller judges it.
    """
    inherited = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def copy_image(source: Path, target: Path) -> Path:
    """Copies a disk image, sharing blocks where the file system can; returns `target`."""
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", source, target], check=True)
    return target


def clone(target: Path) -> Path:
    """Clones this tree and its uncommitted changes into `target`, nothing built; returns it."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, target], check=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-P", "--preserve=mode", ROOT / name, target / name], check=True)
    return target
