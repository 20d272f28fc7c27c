"""Power cuts on real guests: QEMU is killed while it writes; the next boot finds all that sync promised."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree
from tests.harness.guest import Boot, Guest

RECORDS = 24


def findings(image: Path) -> list[str]:
    """What fsck says of an image, its log replayed."""
    done = subprocess.run([tree.FSCK, image], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def cut_power(guest: Guest) -> None:
    """Kills QEMU. What is on disk then is consistent, but for files removed while open."""
    guest.kill()
    assert [line for line in findings(guest.image) if "an orphan" not in line] == []


def last_mark(guest: Guest) -> int:
    """The highest record the guest reported as synced."""
    return max((int(n) for n in re.findall(r"synced (\d+)\r?\n", guest.console)), default=-1)


def check_records(guest: Guest, synced: int) -> None:
    """Each record up to the last synced one is whole; a later one is whole, empty or not there."""
    listed = guest.run("ls d")
    for n in range(RECORDS):
        there = re.search(rf"^r{n} ", listed, re.M) is not None
        assert there or n > synced, f"record {n} of {synced} is gone"
        if there:
            text = guest.run(f"cat d/r{n}")
            assert text == f"record {n}\n" or (n > synced and text == ""), (n, text)


@pytest.mark.parametrize("seed", range(6))
def test_synced_records_survive(boot: Boot, seed: int) -> None:
    """Files written and synced one after the other while others come and go; killed at some point."""
    rng = random.Random(seed)
    guest = boot(cpus=rng.choice([1, 3, 8]), audited=False)
    guest.run("mkdir d")
    # Quoted, so that what is typed, and may be torn by what is printed, never looks like it.
    for n in range(RECORDS):
        guest.keys(
            f'cat README > junk{n % 3} & echo record {n} > d/r{n}; sync; echo "synced" {n}\n'
        )
        guest.keys(f"rm junk{(n + 1) % 3}\n")
    guest.expect(rf"synced {rng.randrange(RECORDS)}\r?\n")
    cut_power(guest)
    synced = last_mark(guest)

    again = boot(image=guest.image, audited=False)
    check_records(again, synced)
    again.kill()
    assert findings(again.image) == []


@pytest.mark.parametrize("seed", range(4))
def test_killed_under_load(boot: Boot, seed: int) -> None:
    """Killed in the middle of usertests: the next boot frees what was left, and all is clean."""
    rng = random.Random(seed)
    guest = boot(audited=False)
    guest.run("echo precious > kept")
    guest.run("sync")
    guest.keys(("stressfs 4 50 & " if seed % 2 else "") + "usertests -q\n")
    for _ in range(1 + rng.randrange(60)):
        guest.expect(r"(?m)^test \w+: OK")
    cut_power(guest)

    again = boot(image=guest.image, audited=False)
    assert again.run("cat kept") == "precious\n"
    again.kill()
    assert findings(again.image) == []


def test_removed_but_open(boot: Boot) -> None:
    """A file removed while a program reads it is freed by the boot after a power cut."""
    guest = boot(audited=False)
    guest.run("echo gone soon > victim")
    guest.run("echo gone later > victim2")
    guest.run("(rm victim; sync; ls) < victim")  # the shell in parentheses has it open
    guest.keys("(rm victim2; sync; echo removed; sleep 1000) < victim2\n")
    guest.expect(r"(?m)^removed")
    guest.kill()
    assert len(findings(guest.image)) == 1
    again = boot(image=guest.image, audited=False)
    assert "victim" not in again.run("ls")
    again.kill()
    assert findings(again.image) == []
