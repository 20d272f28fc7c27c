"""Readers of the host's tools on bytes that lie: one clear line or an answer, never a traceback, never for ever.

The long form is `make soak SOAK=bytes`; AFL++ does the same to the C programs (`make fuzz-host`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.harness import hostile, hostile_submit
from tools.submit import sandbox

CASES = 12  # of each reader; the soak tries thousands


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place to work in; the cache of debug information goes there too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("reader", hostile.READERS, ids=lambda reader: reader.__name__)
def test_damaged_bytes(reader: hostile.Reader, folder: Path) -> None:
    """So many seeds; a failure names its own."""
    hostile.try_seeds(reader, folder, range(CASES))


@pytest.mark.parametrize("reader", hostile_submit.READERS, ids=lambda reader: reader.__name__)
def test_what_a_hand_in_may_hold(reader: hostile.Reader, folder: Path) -> None:
    """The same for tools/submit, whose input is made by strangers."""
    hostile.try_seeds(reader, folder, range(CASES // 2))


def test_nothing_leads_out_of_a_build() -> None:
    """What a hand-in's Makefile leaves behind is opened by us, outside of the sandbox."""
    make = "touch f; ln -s f near; ln -s /etc/passwd far; ln -s / all; mkfifo p; ln -s gone nowhere"
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for its user alone
        folder = Path(name)
        folder.chmod(0o755)
        assert sandbox.run(["sh", "-c", make], folder, 30).status == 0
        assert {p.name for p in folder.iterdir()} == {"f", "near"}


@pytest.mark.parametrize(
    "reader, seed",
    [
        (hostile.lying_elf, 40),
        (hostile.lying_elf, 98),
        (hostile.broken_core, 1),
        (hostile.broken_core, 74),
        (hostile.broken_core, 1000908),
        (hostile.damaged_snapshot, 226),
        (hostile.damaged_trace, 1000403),
        (hostile.damaged_trace, 1001637),
        (hostile_submit.archive, 14),
        (hostile_submit.archive, 109),
        (hostile_submit.batch_results, 5),
        (hostile_submit.batch_results, 15),
        (hostile_submit.build_log, 0),
        (hostile_submit.built_tree, 1000042),
        (hostile_submit.console, 0),
        (hostile_submit.rubric, 26),
    ],
)
def test_what_was_found(reader: hostile.Reader, seed: int, folder: Path) -> None:
    """Inputs that once ended in a traceback."""
    hostile.try_seeds(reader, folder, [seed])
