"""The kernel's own test program, and the three that load it: usertests, grind, stressfs, forktest.

Each judges itself from inside (results, free frames); the audit after each test looks from outside.
"""

from __future__ import annotations

import re

import pytest

from tests.harness.guest import Boot, Guest

LONG = 900  # seconds one command may take on a loaded machine


def failures(output: str) -> list[str]:
    """The lines of usertests that report a failure, each with the reason printed before it."""
    return re.findall(r"(?:^user/\S+: .*\n)*^test \w+: FAILED.*", output, re.M)


def passes(guest: Guest, command: str) -> int:
    """Runs usertests, which has to pass; returns how many tests it ran."""
    output = guest.run(command, status=None, timeout=LONG)
    assert failures(output) == []
    assert output.rstrip().splitlines()[-1] == "ALL TESTS PASSED"
    assert guest.status == 0
    return len(re.findall(r"^test \w+: OK$", output, re.M))


@pytest.mark.parametrize("cpus", [1, 3])
def test_quick_tests_pass(boot: Boot, cpus: int) -> None:
    """The quick group."""
    guest = boot(cpus=cpus)
    listed = guest.run("usertests -l").splitlines()
    quick = [name for name in listed if not name.endswith("(slow)")]
    assert len(listed) >= 60
    assert passes(guest, "usertests -q") == len(quick)


def test_all_tests_pass(boot: Boot) -> None:
    """Every test, slow ones included, on eight harts with lock checks and poisoned frames."""
    guest = boot(cpus=8, debug=True)
    listed = guest.run("usertests -l").splitlines()
    assert passes(guest, "usertests") == len(listed)


def test_tests_can_be_named(boot: Boot) -> None:
    """Named tests are run, slow or not, in a fixed order; unknown names and options are refused."""
    guest = boot()
    output = guest.run("usertests pipe_end sbrk_grow")
    assert output == "test sbrk_grow: OK\ntest pipe_end: OK\nALL TESTS PASSED\n"
    assert "no test is called nosuch" in guest.run("usertests sbrk_grow nosuch", status=2)
    assert guest.run("usertests -x", status=2).startswith("usage: usertests")


def test_a_failing_test_is_reported(boot: Boot) -> None:
    """A test that fails gives its reason, is named in the last line and fails the program."""
    guest = boot(audited=False)
    for _ in range(40):  # so that the table has no room for what fork_limit wants
        guest.run("sleep 100000 &")
    output = guest.run("usertests fork_limit pipe_end", status=1)
    assert re.search(r"^user/usertests_process.c:\d+: \d+ children fit$", output, re.M)
    assert re.search(r"^test fork_limit: FAILED \(status 1\)$", output, re.M)
    assert output.endswith("test pipe_end: OK\n1 TESTS FAILED: fork_limit\n")


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_random_calls(boot: Boot, cpus: int) -> None:
    """grind: random calls by several processes from a fixed seed leave the kernel whole, and the root as it was."""
    guest = boot(cpus=cpus, debug=True)
    there = [line.split()[0] for line in guest.run("ls /").splitlines()]
    output = guest.run(f"grind {cpus} 30", timeout=LONG)
    assert output.endswith("grind: OK\n")
    assert [line.split()[0] for line in guest.run("ls /").splitlines()] == there


@pytest.mark.parametrize("cpus", [1, 8])
def test_file_system_under_load(boot: Boot, cpus: int) -> None:
    """stressfs: many processes in the log at once read back what they wrote."""
    guest = boot(cpus=cpus)
    assert guest.run("stressfs").endswith("stressfs: OK\n")
    assert guest.run("stressfs 12 2", timeout=LONG).endswith("stressfs: OK\n")
    assert guest.run("stressfs 0", status=2).startswith("usage: stressfs")


@pytest.mark.parametrize("cpus", [1, 8])
def test_fork_until_it_fails(boot: Boot, cpus: int) -> None:
    """forktest: the process table runs full and empties again, as often as one likes."""
    guest = boot(cpus=cpus)
    for _ in range(3):
        output = guest.run("forktest")
        assert re.fullmatch(r"forktest: \d+ children at once\nforktest: OK\n", output)
