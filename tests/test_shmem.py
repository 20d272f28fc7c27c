"""Pages shared between processes: the two demonstrations, and every call that must be refused or must work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import image
from tests.harness.guest import Boot, Guest


def sizes(text: str) -> list[int]:
    """The sizes that shmem_test2's child prints."""
    return [int(number) for number in re.findall(r"child: size (\d+) ", text)]


def both(guest: Guest, number: int) -> None:
    """Runs one demonstration and judges what it prints."""
    text = guest.run(f"shmem_test{number}")
    if number == 1:
        assert text == 'child: reads "Hello child"\n'
    else:
        before, mapped, unmapped, grown = sizes(text)
        assert before == unmapped < mapped and grown > unmapped
        assert text.endswith('parent: reads "Hello daddy"\n')


@pytest.mark.parametrize("cpus", [1, 2, 3, 8])
def test_the_demonstrations_in_any_order(boot: Boot, cpus: int) -> None:
    """Any number of times; what they take they give back (the audit counts)."""
    guest = boot(cpus=cpus, debug=cpus == 3)
    for number in (1, 2, 2, 1, 1, 2):
        both(guest, number)


def test_the_demonstrations_at_the_same_time(boot: Boot) -> None:
    guest = boot(cpus=3)
    text = guest.run("shmem_test1 | cat & shmem_test2 | cat & shmem_test1 | cat; sleep 10")
    assert text.count("Hello child") == 2 and text.count("Hello daddy") == 1


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_calls_good_and_bad(boot: Boot, built: None, tmp_path: Path, cpus: int) -> None:
    """Wild processes, addresses and sizes change nothing; all shapes of mapping work."""
    guest = boot(image=image.make(tmp_path, ["shm_calls"]), cpus=cpus, debug=cpus == 3)
    for _ in range(2):
        guest.run("shm_calls")
