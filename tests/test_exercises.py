"""docs/exercises.md: an exercise for each mutant, with commands that there are; one is carried out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree
from tests.harness.guest import SERVER_DEATH, Boot

PAGE = (tree.ROOT / "docs" / "exercises.md").read_text()
ROWS: dict[str, list[str]] = {
    row[0]: row[1:]
    for row in re.findall(r"^\| ([A-Z]\d+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.M)
}


def test_every_mutant_has_its_exercise() -> None:
    """And every exercise its mutant and its answer."""
    patches = {i for p in (tree.ROOT / "tests/mutants").glob("*.patch") for i in p.stem.split("+")}
    assert patches == set(ROWS)
    for id, row in ROWS.items():
        assert row[-1] == f"[answer](mistakes/{id}.md)"


@pytest.mark.parametrize("id", sorted(ROWS))
def test_its_command_is_one(id: str) -> None:
    """A program of the guest; for usertests, a test that there is."""
    known = "".join(p.read_text() for p in tree.ROOT.glob("user/usertests_*.c"))
    for command in re.findall(r"`(.*?)`", ROWS[id][0]):
        program, *words = command.split()
        assert program == "make" or (tree.ROOT / "user" / f"{program}.c").is_file()
        if program == "usertests":
            assert f'{{"{words[0]}", {words[0]}, ' in known


@pytest.mark.no_audit("the kernel is broken on purpose")
def test_an_exercise(boot: Boot, tmp_path: Path) -> None:
    """make mutant C8 breaks a copy and nothing else; the guest shows what the page says."""
    before = subprocess.run(["git", "status", "--porcelain"], cwd=tree.ROOT, capture_output=True)
    flags = f"MUTANTFLAGS=--no-boot --into {tmp_path}"
    done = tree.make("mutant", "C8", flags)
    assert done.returncode == 0, done.stdout
    assert "make check TREE=" in done.stdout
    after = subprocess.run(["git", "status", "--porcelain"], cwd=tree.ROOT, capture_output=True)
    assert after.stdout == before.stdout
    copy = tmp_path / "C8"
    assert not (copy / ".git").exists() and not (copy / "tests").exists()
    guest = boot(kernel=copy / "kernel" / "kernel", image=copy / "fs.img")
    guest.forgive(SERVER_DEATH)
    assert "FAILED" in guest.run("usertests crypto_errors", status=None)


def test_no_such_mutant() -> None:
    """One line that names those there are."""
    done = subprocess.run(
        [tree.ROOT / "tools" / "mutant", "M99"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith(
        "mutant: M99: no such mutant; there are A1"
    )
    assert done.stderr.count("\n") == 1
