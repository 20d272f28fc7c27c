"""Runs a stranger's commands: no network, nothing writable but one folder, bounded in everything. What it
leaves behind in that folder are files, folders and links between them.

Relies on bubblewrap. A command that reaches a bound is ended with all its processes, and the result
says which bound it was.
"""

from __future__ import annotations

import itertools
import os
import resource
import select
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

from tools.guest.memory import GuestError

OUTPUT = 1 << 20  # bytes of output kept and allowed
DISK = 768 << 20  # bytes the folder may grow to
FILE = 256 << 20  # bytes of one file
PROCESSES = 120
NICE = 10  # a fork bomb must not starve who watches it
ADDRESS_SPACE = 4 << 30  # bytes of one process
MEMORY = 3 << 30  # bytes of all together
IDLE = 60  # seconds in which a command must use some processor time
SOME = 0.2  # seconds of it
LONGEST = 1800  # seconds of real time, however busy the machine is
FIRST_USER = 700_000  # a user of its own for each command: the limit on processes counts by user
TICK = os.sysconf("SC_CLK_TCK")
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
    idle: float = IDLE,
) -> Result:
    """Runs `command` with `folder` as /tree, its working directory and all it may write to.

    seconds: of processor time, of all its processes together, so that a busy machine changes nothing.
    idle: seconds of real time in which it must use some.
    """
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
    user = FIRST_USER + os.getpid() * 64 % 1_000_000_000 + next(_users) % 64
    if os.geteuid() == 0:
        _give_away(folder, user)
    result = _watch([*line, "--", *command], folder, seconds, idle, user)
    defuse(folder)
    return result


def defuse(folder: Path) -> None:
    """Removes what would lead whoever opens a file of the folder elsewhere, or make him wait: links out of
    it, pipes, sockets, devices.
    """
    inside = os.path.realpath(folder) + os.sep
    for where, folders, files in os.walk(folder):
        for path in (os.path.join(where, name) for name in (*folders, *files)):
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                harmless = os.path.exists(path) and os.path.realpath(path).startswith(inside)
            else:
                harmless = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            if not harmless:
                os.unlink(path)


_users = itertools.count()


def _give_away(folder: Path, user: int) -> None:
    """root's processes escape RLIMIT_NPROC: the command runs as `user`, who must own the folder."""
    for where, folders, files in os.walk(folder):
        for name in (where, *(os.path.join(where, n) for n in (*folders, *files))):
            os.chown(name, user, user, follow_symlinks=False)


def _tasks() -> int:
    """Processes and threads of this user, which the limit counts too; none of a fresh user."""
    if os.geteuid() == 0:
        return 0
    total = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text("ascii", "replace")
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if fields.get("Uid", "").split()[:1] == [str(os.getuid())]:
            total += int(fields.get("Threads", "1"))
    return total


def _limit(user: int, processes: int) -> None:
    os.setpgid(0, 0)
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


def usage(pid: int) -> tuple[float, int, int]:
    """Seconds of processor time that a process, its children, and those they have waited for have
    used, the bytes of memory they hold now, and how many they are.
    """
    total, pages, count, todo = 0, 0, 0, [pid]
    while todo:
        here = Path("/proc") / str(todo.pop())
        try:
            fields = (here / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))  # utime stime cutime cstime (proc(5))
            pages += int(fields[21])  # rss
            count += 1
            for task in (here / "task").iterdir():
                todo += map(int, (task / "children").read_text("ascii").split())
        except OSError:
            pass  # it has just ended
    return total / TICK, pages * resource.getpagesize(), count


def _watch(line: list[str], folder: Path, seconds: float, idle: float, user: int) -> Result:
    processes = PROCESSES + _tasks()
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: _limit(user, processes),
    )
    assert process.stdout
    stream, text, bound, looked = process.stdout.fileno(), b"", "", 0.0
    begun = busy = time.monotonic()
    used = 0.0
    while True:
        ready, _, _ = select.select([stream], [], [], 0.5)
        data = os.read(stream, 1 << 16) if ready else b""
        text += data
        if ready and not data:
            break
        now = time.monotonic()
        if len(text) > OUTPUT:
            bound = f"more than {OUTPUT >> 20} MiB of output"
        elif now - looked > 1:
            looked = now
            spent, memory, count = usage(process.pid)
            if spent < used or spent - used > SOME:
                used, busy = spent, now
            if spent > seconds:
                bound = f"no end after {seconds:.0f} s of processor time"
            elif now - busy > idle or now - begun > LONGEST:
                bound = f"no end: it has waited for {now - busy:.0f} s"
            elif count > PROCESSES * 3 // 4:
                bound = f"more than {PROCESSES * 3 // 4} processes"
            elif memory > MEMORY:
                bound = f"more than {MEMORY >> 30} GiB of memory"
            elif size_of(folder) > DISK:
                bound = f"more than {DISK >> 20} MiB on disk"
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
