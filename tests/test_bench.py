"""Counted instructions must not grow: the counts are exact, so this judges no machine's speed."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the benchmark driver."""
    command = [str(ROOT / "tools/bench/bench"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_no_operation_takes_more(built: None) -> None:
    """No operation takes over 10 % more instructions than docs/benchmarks/latest.json says."""
    run = bench("--check")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "arguments", [["--profile", "nonsense"], ["/nowhere"]], ids=["operation", "tree"]
)
def test_bad_arguments(built: None, arguments: list[str]) -> None:
    """One line that names what is wrong, status 2."""
    run = bench(*arguments)
    assert run.returncode == 2 and arguments[-1] in run.stderr and run.stderr.count("\n") == 1
