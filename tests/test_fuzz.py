"""System calls at random, the short form: 200,000 calls on one, three and eight harts, judged from outside.

`make soak SOAK=fuzz` makes ten million over twenty seeds.
"""

from __future__ import annotations

import re

import pytest

from tests.harness import fuzz
from tests.harness.guest import Boot

EACH = 25_000  # calls of a round


@pytest.mark.parametrize(
    "cpus, debug, calls", [(1, False, 50_000), (3, True, 75_000), (8, True, 75_000)]
)
def test_random_system_calls(boot: Boot, cpus: int, debug: bool, calls: int) -> None:
    """No panic, nothing hangs, nothing is lost, nobody but fuzz dies; the disk stays sound."""
    guest = boot(cpus=cpus, debug=debug)
    made, good = fuzz.rounds(guest, 1000 * cpus, calls, EACH)
    assert made >= calls and good > made / 8
    assert guest.console.count("starting sh") == 1  # the shell has lived through it
    guest.run("crypto_cli")
    fuzz.check_disk(guest)


def test_a_seed_makes_the_same_choices(boot: Boot) -> None:
    """On one hart that counts instructions a round begins the same way each time."""
    lines = []
    for _ in range(2):
        guest = boot(cpus=1, icount=0, audited=False)  # the audit's looks would take pids
        output = guest.run("fuzz 7 300 1", timeout=600)
        lines.append(re.findall(r"(\w+ page fault|unknown system call \d+)", output))
        assert output.endswith("fuzz: OK\n")
    assert lines[0] == lines[1]


def test_wrong_arguments(boot: Boot) -> None:
    """One line says what it wants."""
    guest = boot()
    for arguments in ("", "1", "1 0", "1 10 100", "1 10 5 5"):
        assert guest.run(f"fuzz {arguments}", status=2).startswith("usage: fuzz")
