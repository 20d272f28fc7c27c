"""Allocation failure at every site, the short form: each path of calls in programs that asks for something is refused.

The debug kernel fails allocations for the guest program `fail` (tests/harness/failpoint.py), which checks that
nothing is lost. `make soak SOAK=alloc` lets each allocation of each program fail in turn, and runs usertests so.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import failpoint
from tests.harness.guest import Boot

SITES = {
    "frame": 10,
    "file": 2,
    "inode": 2,
    "block": 2,
    "process": 1,
    "read": 1,
    "buffer": 1,
    "log": 4,
}
FEW = ("crypto_cli", "grind 1 1", "stressfs 2 1", *failpoint.COMMANDS[-3:])


@pytest.mark.parametrize("kind", failpoint.KINDS)
def test_failing_allocations(boot: Boot, built: None, tmp_path: Path, kind: str) -> None:
    """No panic, nothing lost, -1 to the caller; afterwards a program runs as ever."""
    guest = boot(image=failpoint.make_image(tmp_path), debug=True)
    failures = []
    for command in failpoint.COMMANDS if kind == "frame" else FEW:
        failures += failpoint.fail(guest, f"{kind} new 0", command)
    if (
        kind == "read"
    ):  # what can't be read ahead is read again: only a disk that reads nothing any more is seen
        failures = failpoint.fail(guest, "-o read 1 4", "wc README") + failures
    assert failpoint.wrong(failures) == []
    found = failpoint.sites(failures)
    assert len(found) >= SITES[kind], sorted(found)
    guest.run("crypto_cli")
    guest.run("sh -c 'echo whole > f; cat f; rm f'")


@pytest.mark.parametrize("options", ["-n", "-n -o"])
def test_each_frame_in_turn(boot: Boot, built: None, tmp_path: Path, options: str) -> None:
    """The first, the second ... until the program takes no more; alone, or with all that follow."""
    guest = boot(image=failpoint.make_image(tmp_path), debug=True)
    for command in ("shmem_test2", "crypto_cli", failpoint.COMMANDS[-1]):
        failures = failpoint.fail(guest, f"{options} frame 1 0", command)
        assert failpoint.wrong(failures) == [] and len(failures) > 5
    if "-o" not in options:
        assert "out of memory: pid" in guest.console  # where there is no call to give -1


def test_one_plan_for_any_kind(boot: Boot, built: None, tmp_path: Path) -> None:
    """What takes longest, usertests by path in the soak, goes through each test once for all kinds."""
    guest = boot(image=failpoint.make_image(tmp_path), debug=True)
    failures = failpoint.fail(guest, "any new 0", failpoint.COMMANDS[-1])
    assert failpoint.wrong(failures) == []
    assert {f.kind for f in failures} >= {"frame", "file", "process"}


def test_a_disk_that_fails_to_write(boot: Boot, built: None, tmp_path: Path) -> None:
    """One line, and the file system is read-only: changes give -1, what is there can be read."""
    guest = boot(
        image=failpoint.make_image(tmp_path), debug=True, audited=False
    )  # a failed log is never at rest
    guest.run("sh -c 'echo kept > f; sync'")
    guest.run("fail write 1 1 sh -c 'echo lost > g; sync'", status=None)
    line = r"^file system: the disk failed to write block \d+: nothing is written any more$"
    assert len(re.findall(line, guest.console, re.M)) == 1
    assert guest.run("cat f") == "kept\n"
    for command in ("mkdir d", "rm f", "ln f h", "sh -c 'echo x > h'", "sync"):
        guest.run(command, status=None)
        assert guest.status != 0, command
    guest.run("crypto_cli")


def test_only_debug_builds_have_it(boot: Boot, built: None, tmp_path: Path) -> None:
    """The device is not there in the kernel that people run."""
    guest = boot(image=failpoint.make_image(tmp_path))
    assert "does not take" in guest.run("fail frame 1 1 echo", status=None)
