"""The tables in docs/ say what the source says."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "tools/docs/figures"


def test_tables_are_current() -> None:
    """What tools/docs/tables would write is what stands there."""
    run = subprocess.run([ROOT / "tools/docs/tables", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_unknown_argument() -> None:
    """One line, exit status 2."""
    run = subprocess.run([ROOT / "tools/docs/tables", "--chekc"], capture_output=True, text=True)
    assert run.returncode == 2 and "--chekc" in run.stderr and run.stderr.count("\n") == 1


def test_figures_from_the_source_are_current() -> None:
    """What tools/docs/figures would draw is what is there."""
    run = subprocess.run([FIGURES, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["memory", "ring", "queue"])
def test_figures_from_guests(name: str, built: None, tmp_path: Path) -> None:
    """A guest of today gives the figure the same words; numbers differ from run to run."""

    def words(svg: Path) -> set[str]:
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())
        return {re.sub(r"0x[0-9a-f]+|[0-9][0-9,]*", "", text).strip() for text in texts}

    run = subprocess.run([FIGURES, "-o", tmp_path, name], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert words(tmp_path / f"{name}.svg") == words(ROOT / f"docs/figures/{name}.svg")


def test_unknown_figure() -> None:
    """One line that names those there are, exit status 2."""
    run = subprocess.run([FIGURES, "ringg"], capture_output=True, text=True)
    assert run.returncode == 2 and "ringg: no such figure" in run.stderr
