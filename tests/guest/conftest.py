"""Images for the tests of tools/guest and of the commands: a kernel as xv6 is, and one that counts references."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guest.image import Image


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the made-up kernels are compiled; the cache of debug information goes there too."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the user's own cache out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


@pytest.fixture
def image(folder: Path) -> Image:
    """Empty RAM with xv6's kind of kernel."""
    return Image(folder)


@pytest.fixture
def counted(folder: Path) -> Image:
    """Empty RAM with a kernel that counts references."""
    return Image(folder, counted=True)
