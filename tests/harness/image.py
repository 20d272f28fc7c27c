"""Disk images with programs fs.img does not have, or another program under a known name.

Relies on mkfs and on the programs `make all` and `make test-programs` leave under build/.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.harness import tree

PROGRAMS = tree.BUILD / "fs"
TEST_PROGRAMS = tree.BUILD / "test-programs"
BASE = (
    "init sh crypto_srv crypto_cli cat cmp echo free kill ps rm shmem_test1 shmem_test2 shmtrace"
    " sleep wc"
)


def make(
    folder: Path,
    programs: Iterable[str] = (),
    *,
    replace: Mapping[str, str] = {},
    without: Iterable[str] = (),
    files: Iterable[Path] = (),
) -> Path:
    """Makes an image in `folder` and returns its path.

    Args:
        programs: test programs to add, by name.
        replace: test programs to put in the place of others: {"crypto_srv": "crypto_srv_bug"}.
        without: programs of the base set to leave out.
        files: further files of the host.
    """
    root = folder / "image"
    root.mkdir()
    for name in set(BASE.split()) - set(without):
        shutil.copy(PROGRAMS / name, root / name)
    for name in programs:
        shutil.copy(TEST_PROGRAMS / name, root / name)
    for name, substitute in replace.items():
        shutil.copy(TEST_PROGRAMS / substitute, root / name)
    for file in files:
        shutil.copy(file, root / file.name)
    image = folder / "test.img"
    subprocess.run([tree.MKFS, image, *sorted(root.iterdir())], check=True, capture_output=True)
    return image
