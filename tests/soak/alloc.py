"""Every allocation of every program fails in turn; usertests' quick group does so by each path of calls."""

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


def commands(guest: Guest) -> list[tuple[str, str]]:
    """What to run, as options and command: programs and usertests by path, then all one by one."""
    listed = guest.run("usertests -l").splitlines()
    tests = [f"usertests {name}" for name in listed if not name.endswith("(slow)")]
    everything = [*failpoint.COMMANDS, *tests]
    by_path = [(f"{kind} new", c) for kind in failpoint.KINDS for c in everything]
    programs = [
        (f"{mode} {kind} 1", c)
        for mode, kind in itertools.product(("-n", "-o"), failpoint.KINDS)
        for c in failpoint.COMMANDS
    ]
    return by_path + programs + [("frame 1", test) for test in tests]


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
    wrong = failpoint.wrong(failures)
    figure("commands", f"{done} of {len(todo)}")
    figure("allocations refused", len(failures))
    figure("sites", len(failpoint.sites(failures)))
    figure("paths of calls", len({f.path for f in failures}))
    assert not wrong, "\n".join(wrong)
