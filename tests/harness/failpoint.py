"""Makes allocations fail in a guest (kernel/lib/failpoint.h), and judges what became of it.

Relies on the guest program `fail`, which runs commands and reports, and on tools/guest for the names of
the places that failed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.harness import image, tree
from tests.harness.guest import Guest
from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import PAGE, BytesMemory

KINDS = ("frame", "file", "inode", "block", "process", "read", "buffer", "log")
WAITS = {"buffer", "log"}  # who finds none waits for one: no call fails for that

# Every program but init, shutdown and bench, which would not come back or measure nothing; each leaves things as it
# found them.
COMMANDS = (
    "cat README",
    "cmp README README",
    "crypto_cli",
    "crypto_srv",
    "echo some words",
    "forktest",
    "free",
    "grep the README",
    "grind 1 1",
    "kill 999999",
    "ls",
    "ps",
    "shmem_test1",
    "shmem_test2",
    "shmtrace -c crypto_cli",
    "sleep 1",
    "stressfs 2 1",
    "sync",
    "wc README",
    "zombie",
    "sh -c 'crypto_cli encrypt k <README >s; crypto_cli decrypt k <s | cmp - README; rm s'",
    "sh -c 'mkdir d; echo x > d/f; ln d/f d/g; rm d/f d/g; rm d'",
    "sh -c '(cat README; ls) | grep -c e | wc'",
)

REPORT = re.compile(
    r"^fail: [\w ]+: status (?P<status>-?\d+): (?P<kind>\w+) asked (?P<asked>\d+) failed (?P<failed>\d+)"
    r"(?: call (?P<call>\d+) (?P<how>result|open) (?P<result>-?\d+) path(?P<path>[ 0-9a-fx]*))?$",
    re.M,
)

# Calls that need not give -1 though something they asked for was missing, and why.
SPARED = {
    ("process", "fork"): "init may have freed a slot meanwhile: it asks again",
    ("read", "*"): "what could not be read ahead is read again when it is wanted",
    ("block", "write"): "tells how much it has written",
    ("frame", "take_shared_memory_request"): "tells the client, and takes the next request",
}


@dataclass(frozen=True)
class Failure:
    """One run in which an allocation failed. `call` is None for a page fault; `result` None if it did not return."""

    command: str
    kind: str
    status: int
    call: str | None
    result: int | None
    path: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether the caller was told as it should be."""
        if self.kind in WAITS or self.call is None or self.result in (-1, None):
            return True
        return (self.kind, self.call) in SPARED or (self.kind, "*") in SPARED


def calls() -> dict[int, str]:
    """Names of the system calls by number, from the one table there is."""
    text = (tree.ROOT / "kernel" / "syscall.h").read_text()
    return {int(n): name for n, name in re.findall(r"X\((\d+), (\w+)\)", text)}


def make_image(folder: Path) -> Path:
    """A disk with all programs, README and `fail`."""
    rest = [p for p in image.PROGRAMS.iterdir() if p.name not in image.BASE.split()]
    return image.make(folder, ["fail"], files=rest)


def fail(guest: Guest, options: str, command: str, timeout: float = 900) -> list[Failure]:
    """Runs `fail` with these options (its -n, kind, first and last); what failed, one run each.

    Raises GuestFailure if something did not come back.
    """
    names = calls()
    output = guest.run(f"fail {options} {command}", timeout=timeout)
    found = []
    for report in REPORT.finditer(output):
        if int(report["failed"]):
            number = int(report["call"] or 0)
            result = int(report["result"]) if report["how"] == "result" else None
            path = tuple(int(pc, 16) for pc in (report["path"] or "").split())
            call = names.get(number, str(number)) if number else None
            found.append(
                Failure(command, report["kind"], int(report["status"]), call, result, path)
            )
    if not REPORT.search(output):
        raise guest.fail(f"fail {options} {command}: no report")
    return found


def sites(failures: list[Failure], kernel: Path = tree.DEBUG_KERNEL) -> set[str]:
    """The places in the kernel that were refused something: kind, and the two innermost calls with
    their lines, those within the allocator of frames left out.
    """
    place = Kernel(Elf(str(kernel)), BytesMemory(bytearray(PAGE))).place
    found = set()
    for f in failures:
        places = [str(place(pc - 1)) for pc in f.path]
        calls = [p for p in places if "mm/kalloc.c" not in p]
        found.add(f"{f.kind}: " + " < ".join(calls[:2]))
    return found


def wrong(failures: list[Failure]) -> list[str]:
    """Those whose caller was told something else than -1, one line each."""
    return [
        f"{f.kind} failed in {f.call} of {f.command}, which gave {f.result}"
        for f in failures
        if not f.right
    ]
