"""Mutants are planted here and nowhere else: a copy of this tree with one known mistake in it.

The patches are tests/mutants/*.patch. Standard library and git only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
PATCHES = TREE / "tests" / "mutants"
KEPT = ("Makefile", "README.md", "packages.txt", "kernel", "user", "mkfs", "tools")


def names() -> list[str]:
    """Every mutant there is, in the catalogue's order of ids; some carry two, such as M3+U5."""

    def natural(name: str) -> tuple[str, list[int], str]:
        return name[0], [int(n) for n in re.findall(r"\d+", name)], name

    return sorted((p.stem for p in PATCHES.glob("*.patch")), key=natural)


def ids(name: str) -> list[str]:
    """What a mutant carries: `M3+U5` two mistakes, `K1-fields` another form of K1 than `K1`."""
    return name.partition("-")[0].split("+")


def path(name: str) -> Path:
    """The patch of a mutant."""
    return PATCHES / f"{name}.patch"


def plant(name: str, folder: Path) -> Path:
    """Copies the tree's files to `folder`, which must not exist, without tests, git and all else that
    would tell, and patches them; returns it. Raises OSError or CalledProcessError.
    """
    folder.mkdir(parents=True)
    for file in _files():
        source, target = TREE / file, folder / file
        if source.is_file() and not file.startswith(("tests/", ".")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    apply(name, folder)
    return folder


def apply(name: str, folder: Path, reverse: bool = False) -> None:
    """Patches a copy of the tree, or takes the patch out again. Raises CalledProcessError."""
    patch = ["git", "apply", *["-R"][: int(reverse)], "--whitespace=nowarn", str(path(name))]
    # Not as a part of the repository around it, where the folder is ignored.
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}
    subprocess.run(patch, cwd=folder, check=True, env=outside)


def _files() -> list[str]:
    """The tree's files: those git knows or would take; all but what is built, where there is no git."""
    if not (TREE / ".git").exists():
        found = [p for top in KEPT for p in sorted([TREE / top, *(TREE / top).rglob("*")])]
        return [
            str(p.relative_to(TREE)) for p in found if p.is_file() and "__pycache__" not in str(p)
        ]
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=TREE, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name]
