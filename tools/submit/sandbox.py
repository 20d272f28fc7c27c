"""Runs a stranger's commands: no network, nothing writable but one folder, bounded in everything.

Relies on bubblewrap. A command that reaches a bound is ended with all its processes, and the result
says which bound it was.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

from tools.guest.memory import GuestError

OUTPUT = 1 << 20  # bytes of output kept and allowed
DISK = 768 << 20  # bytes the folder may grow to
FILE = 256 << 20  # bytes of one file
PROCESSES = 400
ADDRESS_SPACE = 4 << 30  # bytes of one process
NOBODY = 65534
SYSTEM = (
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/var/lib/dpkg",
)


@dataclass
class Result:
    """status: the command's, or -1 if it was ended for what `bound` says (empty if for nothing)."""

    status: int
    output: str
    bound: str = ""


def run(
    command: Sequence[str],
    folder: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Runs `command` with `folder` as /tree, its working directory and all it may write to."""
    if not shutil.which("bwrap"):
        raise GuestError("bwrap is missing: 'make setup' installs bubblewrap")
    line = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for path in SYSTEM:
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            line += ["--ro-bind", path, path]
    line += ["--proc", "/proc", "--dev", "/dev", "--size", str(128 << 20), "--tmpfs", "/tmp"]
    line += ["--bind", str(folder), "/tree", "--chdir", "/tree", "--clearenv"]
    settings = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    for name, value in {**settings, **(environment or {})}.items():
        line += ["--setenv", name, value]
    if os.geteuid() == 0:
        _give_away(folder)
    return _watch([*line, "--", *command], folder, seconds)


def _give_away(folder: Path) -> None:
    """root's processes escape RLIMIT_NPROC: the command runs as nobody, who must own the folder."""
    for where, folders, files in os.walk(folder):
        for name in (where, *(os.path.join(where, n) for n in (*folders, *files))):
            os.chown(name, NOBODY, NOBODY, follow_symlinks=False)


def _limit() -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _watch(line: list[str], folder: Path, seconds: float) -> Result:
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_limit,
    )
    assert process.stdout
    stream, text, bound, looked = process.stdout.fileno(), b"", "", 0.0
    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([stream], [], [], 0.5)
        data = os.read(stream, 1 << 16) if ready else b""
        text += data
        if ready and not data:
            break
        now = time.monotonic()
        if len(text) > OUTPUT:
            bound = f"more than {OUTPUT >> 20} MiB of output"
        elif now > until:
            bound = f"no end after {seconds:.0f} s"
        elif now - looked > 2 and size_of(folder) > DISK:
            bound = f"more than {DISK >> 20} MiB on disk"
        looked = now if now - looked > 2 else looked
        if bound or (not ready and process.poll() is not None):
            break
    if bound:
        os.killpg(process.pid, signal.SIGKILL)  # bwrap; its pid namespace dies with it
    process.stdout.close()
    status = process.wait()
    return Result(-1 if bound else status, text[:OUTPUT].decode("utf-8", "replace"), bound)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                pass
    return total
