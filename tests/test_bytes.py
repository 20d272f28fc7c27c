"""Readers of the host's tools on bytes that lie: one clear line or an answer, never a traceback, never for ever.

The long form is `make soak SOAK=bytes`; AFL++ does the same to the C programs (`make fuzz-host`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import hostile

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


@pytest.mark.parametrize(
    "reader, seed",
    [
        (hostile.lying_elf, 40),
        (hostile.lying_elf, 98),
        (hostile.broken_core, 1),
        (hostile.broken_core, 74),
        (hostile.broken_core, 1000908),
        (hostile.damaged_snapshot, 226),
    ],
)
def test_what_was_found(reader: hostile.Reader, seed: int, folder: Path) -> None:
    """Inputs that once ended in a traceback."""
    hostile.try_seeds(reader, folder, [seed])
