"""Pipes: bytes in order and once, small writes whole, bad buffers and dying ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import image
from tests.harness.guest import Boot


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_pipes(boot: Boot, built: None, tmp_path: Path, cpus: int) -> None:
    """Streams of all sizes, many writers, what must be refused, ends that are killed."""
    guest = boot(image=image.make(tmp_path, ["pipes"]), cpus=cpus, debug=cpus == 3)
    for _ in range(2):
        guest.run("pipes")
