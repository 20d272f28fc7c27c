"""Every allocation of every program fails in turn; usertests' quick group does so by each path of calls."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

from tests.harness import audit, failpoint, tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 20
EACH = 25  # of each test of usertests, so many allocations fail one by one before the paths do


def commands(guest: Guest) -> list[tuple[str, str]]:
    """What to run, as options and command: all programs, then usertests by path, then one by one."""
    listed = guest.run("usertests -l").splitlines()
    tests = [f"usertests {name}" for name in listed if not name.endswith("(slow)")]
    programs = [
        (f"{mode} {kind} 1 0", command)
        for mode, kind in itertools.product(("-n", "-o"), failpoint.KINDS)
        for command in failpoint.COMMANDS
    ]
    by_path = [(f"{kind} new 0", test) for kind in failpoint.KINDS for test in tests]
    one_by_one = [(f"frame 1 {EACH}", test) for test in tests]
    return programs + by_path + one_by_one


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
                failures += failpoint.fail(guest, options, command)
                done += 1
            audit.check(guest, before)
    wrong = failpoint.wrong(failures)
    figure("commands", f"{done} of {len(todo)}")
    figure("allocations refused", len(failures))
    figure("sites", len(failpoint.sites(failures)))
    figure("paths of calls", len({f.path for f in failures}))
    assert not wrong, "\n".join(wrong)
