"""Counted instructions must not grow: the counts are exact, so this judges no machine's speed."""

import copy
import subprocess
from pathlib import Path

import pytest

from tools.bench import page

ROOT = Path(__file__).resolve().parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the benchmark driver."""
    command = [str(ROOT / "tools/bench/bench"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_nothing_takes_more(built: None) -> None:
    """No operation, and no point of a growth curve, takes over 10 % more instructions than docs/benchmarks/latest.json
    says; and one more page, block or inode costs no more among thousands than among hundreds."""
    run = bench("--check")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "arguments", [["--profile", "nonsense"], ["/nowhere"]], ids=["operation", "tree"]
)
def test_bad_arguments(built: None, arguments: list[str]) -> None:
    """One line that names what is wrong, status 2."""
    run = bench(*arguments)
    assert run.returncode == 2 and arguments[-1] in run.stderr and run.stderr.count("\n") == 1


def test_checks_bite() -> None:
    """A figure 11 % up, one that is missing, and a curve that bends upwards are each named; what is stored passes."""
    record = page.stored()
    assert page.regressions(record) == [] and page.faster_than_linear(record["growth"]) == []
    for part, name in (("instructions", "share1"), ("growth", "fork")):
        worse = copy.deepcopy(record)
        if part == "growth":
            worse[part][name]["4096"] *= 1.11
            assert page.faster_than_linear(worse["growth"])[0].startswith("fork: ")
        else:
            worse[part][name] *= 1.11
        assert len(page.regressions(worse)) == 1 and name in page.regressions(worse)[0]
        del worse[part][name]
        assert page.regressions(worse)


def test_stored_figures_meet_their_targets() -> None:
    """What an operation takes, and no name among the targets that is not measured."""
    counts = page.stored()["instructions"]
    assert [name for name, most in page.TARGETS.items() if counts[name] > most] == []


def test_stored_page_is_of_the_stored_figures() -> None:
    """docs/benchmarks/README.md is what latest.json gives, every tree has the same names, and no other."""
    record = page.stored()
    assert (page.DOCS / "README.md").read_text() == page.page(record)
    for counts in record["others"].values():
        assert set(counts) <= set(record["instructions"])
