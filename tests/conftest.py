"""Fixtures of all suites: the tree is built once per session, each test boots its own guests.

Every guest a test leaves running is audited (harness/audit.py) unless it is marked `no_audit`.
"""

from __future__ import annotations

import fcntl
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import audit, tree
from tests.harness.guest import Boot, Guest


def pytest_configure(config: pytest.Config) -> None:
    """Declares the markers, keeps temporary files inside the tree, and lets ^C end what tests start.

    A shell without a terminal starts what runs in the background with ^C ignored, for its children too.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", "no_audit(why): the guest is left in a state no audit can judge"
    )
    if not hasattr(config, "workerinput") and config.option.basetemp is None:
        tree.BUILD.mkdir(exist_ok=True)
        config.option.basetemp = tree.BUILD / "test-tmp"


@pytest.fixture(scope="session")
def built() -> None:
    """Both kernels, all programs, the image and the host tools, made once per session."""
    tree.LOGS.mkdir(parents=True, exist_ok=True)
    with open(tree.BUILD / "test-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other worker's make
        for arguments in (["all", "test-programs"], ["DEBUG=1", "all"]):
            done = tree.make("-j2", *arguments)
            if done.returncode != 0:
                pytest.exit(f"make {' '.join(arguments)} failed:\n{done.stdout[-4000:]}", 1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remembers how each phase of a test went, for the fixtures to see."""
    outcome: Any = yield
    report = outcome.get_result()
    reports: dict[str, pytest.TestReport] = item.stash.setdefault(REPORTS, {})
    reports[report.when] = report


REPORTS: pytest.StashKey[dict[str, pytest.TestReport]] = pytest.StashKey()


@pytest.fixture
def boot(request: pytest.FixtureRequest, tmp_path: Path, built: None) -> Iterator[Boot]:
    """A function that boots guests: boot(cpus=3, mem="128M", debug=False, icount=None, image=None).

    A given `image` is used as it is (to boot again what a crash left); else each guest gets a fresh
    copy. `audited=False` exempts one guest. Other options are Guest's. The console goes to
    build/test-logs and stays there if the test fails.
    """
    guests: list[tuple[Guest, int | None]] = []
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", request.node.nodeid.removeprefix("tests/"))
    log = tree.LOGS / f"{name}.log"
    log.unlink(missing_ok=True)

    def start(
        *, image: Path | None = None, debug: bool = False, audited: bool = True, **options: Any
    ) -> Guest:
        if image is None:
            image = tree.copy_image(tree.IMAGE, tmp_path / f"fs{len(guests)}.img")
        options.setdefault("kernel", tree.DEBUG_KERNEL if debug else tree.KERNEL)
        guest = Guest(image, log=log, **options)
        guests.append((guest, None))
        if audited and request.node.get_closest_marker("no_audit") is None:
            guests[-1] = (guest, audit.baseline(guest))
        return guest

    try:
        yield start
        reports = request.node.stash.get(REPORTS, {})
        passed = "call" in reports and reports["call"].passed
        for guest, before in guests:
            if passed and before is not None and guest.alive:
                audit.check(guest, before)
        if passed:
            log.unlink(missing_ok=True)
    finally:
        for guest, _ in guests:
            guest.stop()
