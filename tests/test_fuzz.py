"""System calls at random, the short form: 200,000 calls on one, three and eight harts, judged from outside.

`make soak SOAK=fuzz` makes ten million over twenty seeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import fuzz, tree
from tests.harness.guest import Boot, Guest
from tools.guest import open_guest
from tools.trace.record import Source, attach
from tools.trace.trace import load

EACH = 25_000  # calls of a round
SEEN = 15  # calls that are compared


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


def first_calls(guest: Guest, folder: Path) -> list[int]:
    """The calls by which fuzz's first worker began, from the trace. It is the third child there is."""
    source = Source(open_guest(str(tree.KERNEL), ram=str(guest.ram)), None)
    attach(folder / "fuzz.xt", source, 0)
    trace = load(folder / "fuzz.xt")
    entered = trace.of("sys_enter")
    pids = trace.records["pid"][entered]
    fuzz_pid = next(p for p in pids if trace.name_at(int(p), int(entered[-1])) == "fuzz")
    calls = trace.arg("sys_enter", "call", entered[pids == fuzz_pid + 3])
    return [int(call) for call in calls[:SEEN]]


def test_a_seed_makes_the_same_choices(boot: Boot, tmp_path: Path) -> None:
    """A process's calls follow from the seed, whatever the others do meanwhile."""
    arguments = ("-append", "trace=sys,proc trace_records=65536")
    begun = []
    for seed in (7, 7, 8):
        guest = boot(cpus=1, icount=0, audited=False, extra=arguments)
        assert guest.run(f"fuzz {seed} 300 1", timeout=600).endswith("fuzz: OK\n")
        begun.append(first_calls(guest, tmp_path))
        guest.stop()
    assert len(begun[0]) == SEEN and begun[0] == begun[1] != begun[2]


def test_wrong_arguments(boot: Boot) -> None:
    """One line says what it wants."""
    guest = boot()
    for arguments in ("", "1", "1 0", "1 10 100", "1 10 5 5"):
        assert guest.run(f"fuzz {arguments}", status=2).startswith("usage: fuzz")
