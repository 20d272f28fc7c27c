"""docs/exercises.md: an exercise for each mutant, with commands that there are; one is carried out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness import exercises, tree
from tools.mutants import ids, names

THERE = exercises.exercises()
HERE = (
    "C8",
    "X2",
    "K1",
    "X5",
    "T1",
)  # a kernel's, a gdb's and a program's; `make soak SOAK=exercises` has all


def test_every_mutant_has_its_exercise() -> None:
    """And every exercise its mutant and its answer."""
    assert {id for name in names() for id in ids(name)} == set(THERE)
    for id, exercise in THERE.items():
        assert exercise.answer == f"[answer](mistakes/{id}.md)"
        assert exercise.run and (exercise.shows or exercise.fewer), id


@pytest.mark.parametrize("id", sorted(THERE))
def test_its_command_is_one(id: str) -> None:
    """A program of the guest; for usertests, a test that there is."""
    known = "".join(p.read_text() for p in tree.ROOT.glob("user/usertests_*.c"))
    for command in THERE[id].run:
        if command.startswith((exercises.IN_GDB, exercises.IN_SHELL)):
            continue
        program, *words = command.split()
        assert program == "make" or (tree.ROOT / "user" / f"{program}.c").is_file()
        if program == "usertests":
            assert f'{{"{words[0]}", {words[0]}, ' in known


def test_exercises(tmp_path: Path) -> None:
    """make mutant C8 breaks a copy and nothing else. It shows what the page says, and so do others planted there."""
    before = subprocess.run(["git", "status", "--porcelain"], cwd=tree.ROOT, capture_output=True)
    done = tree.make("mutant", HERE[0], f"MUTANTFLAGS=--no-boot --into {tmp_path}")
    assert done.returncode == 0, done.stdout
    assert "make check TREE=" in done.stdout
    after = subprocess.run(["git", "status", "--porcelain"], cwd=tree.ROOT, capture_output=True)
    assert after.stdout == before.stdout
    copy = tmp_path / HERE[0]
    assert not (copy / ".git").exists() and not (copy / "tests").exists()
    for id, planted in zip(HERE, [None, *HERE]):
        built = exercises.plant(THERE[id], copy, THERE[planted]) if planted else ""
        assert exercises.carry_out(THERE[id], copy, tmp_path, built) == [], id


def test_no_such_mutant() -> None:
    """One line that names those there are."""
    done = subprocess.run(
        [tree.ROOT / "tools" / "mutant", "M99"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith(
        "mutant: M99: no such mutant; there are A1"
    )
    assert done.stderr.count("\n") == 1
