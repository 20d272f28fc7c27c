"""Every allocation of every program fails in turn; usertests' quick group does so by each path of calls

A path is what stands on the kernel's stack. Of grind and stressfs each path fails too, not each allocation: their
processes meet in another order each time, so a number names nothing. A path that has failed is passed over afterwards.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

from tests.harness import audit, failpoint, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 60
CHUNK = 40  # allocations that fail one after the other before the clock is looked at
BY_PATH = {"grind", "stressfs"}


def commands(guest: Guest) -> list[tuple[str, str]]:
    """What to run, as options and command: programs and usertests by path, then programs one by one."""
    listed = guest.run("usertests -l").splitlines()
    tests = [f"usertests {name}" for name in listed if not name.endswith("(slow)")]
    programs = [(f"{kind} new", c) for kind in failpoint.KINDS for c in failpoint.COMMANDS]
    one_by_one = [
        (f"{mode} {kind} 1", c)
        for mode, kind in itertools.product(("-n", "-o"), failpoint.KINDS)
        for c in failpoint.COMMANDS
        if c.split()[0] not in BY_PATH
    ]
    return programs + [("any new", test) for test in tests] + one_by_one


def exhaust(guest: Guest, options: str, command: str, end: float) -> list[failpoint.Failure]:
    """Lets one allocation after the other fail, until the command takes no more or the time is over."""
    if options.endswith("new"):
        return failpoint.fail(guest, f"{options} 0", command)
    failures: list[failpoint.Failure] = []
    mode = options.removesuffix(" 1")
    for first in itertools.count(1, CHUNK):
        more = failpoint.fail(guest, f"{mode} {first} {first + CHUNK - 1}", command)
        failures += more
        if len(more) < CHUNK or time.monotonic() > end:
            return failures
    raise AssertionError


def tell(failures: list[failpoint.Failure]) -> None:
    """Prints the figures of a list of failures: in all and of each kind."""
    for kind in failpoint.KINDS:
        of_kind = [f for f in failures if f.kind == kind]
        paths = len({f.path for f in of_kind})
        sites = len(failpoint.sites(of_kind))
        figure(
            f"{kind}: refused, by how many paths, from how many sites",
            f"{len(of_kind)}, {paths}, {sites}",
        )


def run(minutes: float, seed: int) -> None:
    """Runs them in order until the time is over; `seed` turns the list, so that short runs differ."""
    end = time.monotonic() + 60 * minutes
    failures: list[failpoint.Failure] = []
    done = 0
    with tempfile.TemporaryDirectory(dir=tree.BUILD) as folder:
        disk = failpoint.make_image(Path(folder))
        with Guest(disk, kernel=tree.DEBUG_KERNEL) as guest:
            before = audit.baseline(guest)
            todo = commands(guest)
            start = (seed - 1) * 97 % len(todo)
            for options, command in todo[start:] + todo[:start]:
                if time.monotonic() > end:
                    break
                failures += exhaust(guest, options, command, end)
                done += 1
            audit.check(guest, before)
            assert "stuck:" not in guest.console, guest.tail()
    wrong = failpoint.wrong(failures)
    figure("commands", f"{done} of {len(todo)}")
    figure("allocations refused", len(failures))
    tell(failures)
    assert not wrong, "\n".join(wrong)
