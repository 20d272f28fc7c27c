"""The tables in docs/ say what the source says."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_tables_are_current() -> None:
    """What tools/docs/tables would write is what stands there."""
    run = subprocess.run([ROOT / "tools/docs/tables", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_unknown_argument() -> None:
    """One line, exit status 2."""
    run = subprocess.run([ROOT / "tools/docs/tables", "--chekc"], capture_output=True, text=True)
    assert run.returncode == 2 and "--chekc" in run.stdout and run.stdout.count("\n") == 1
