"""A submission's tree: found wherever it lies, copied without what should not be there.

The original is only ever read. What had to be coped with is kept as notes for the report.
"""

from __future__ import annotations

import lzma
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tools.guest.memory import GuestError
from tools.submit.findings import plain

LARGEST = 256 << 20  # bytes of a submission
MOST = 20_000  # files
DEEPEST = 4  # folders above the tree itself
TEXT = {".c", ".h", ".S", ".pl", ".ld", ".mk", ".py", ".sh"}
STALE = {".o", ".d", ".asm", ".sym", ".out", ".img"}
# What zipfile raises for a file that is damaged, or means ill.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
SKIP = {".git", "build", "__MACOSX", "node_modules", ".vscode", "__pycache__"}


@dataclass
class Tree:
    """A copy. root: where it is; origin: what it was copied from; notes: what was unusual."""

    root: Path
    origin: Path
    notes: list[str] = field(default_factory=list)


def copy(origin: Path, target: Path) -> Tree:
    """Copies the xv6 tree in the folder or zip file `origin` to `target`, which must not exist.

    Raises GuestError if there is none in it, or it is too large.
    """
    notes: list[str] = []
    if origin.is_file():
        source = _unzip(origin, target.with_name(target.name + ".zip"))
    elif origin.is_dir():
        source = origin
    else:
        raise GuestError(f"{origin}: no such folder or zip file")
    root = _find(source)
    if root is None:
        raise GuestError(f"{origin}: no xv6 tree in it (a Makefile beside kernel/ with C files)")
    if root != source:
        notes.append(f"the tree is in the folder {root.relative_to(source)} of the submission")
    _copy(root, target, notes)
    return Tree(target, origin, notes)


def _unzip(archive: Path, target: Path) -> Path:
    """Unpacks a zip file, refusing names that lead out of it."""
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = packed.infolist()
            if sum(e.file_size for e in entries) > LARGEST or len(entries) > MOST:
                raise GuestError(f"{archive}: larger than {LARGEST >> 20} MiB unpacked")
            for entry in entries:
                name = entry.filename.replace("\\", "/")  # as some Windows programs write it
                parts = [p for p in name.split("/") if p not in ("", ".")]
                if ".." in parts or not parts or entry.external_attr >> 28 == 0xA:
                    continue
                where = target.joinpath(*parts)
                if name.endswith("/"):
                    where.mkdir(parents=True, exist_ok=True)
                else:
                    where.parent.mkdir(parents=True, exist_ok=True)
                    where.write_bytes(packed.read(entry))
    except BROKEN as error:
        why = plain(str(error).partition("\n")[0])
        raise GuestError(f"{archive}: not a readable zip file ({why})") from None
    return target


def _find(folder: Path) -> Path | None:
    """The nearest folder, breadth first, with a Makefile and a kernel/ that has C files; one with
    the assignment in it before one without, as some hand in a whole course.
    """
    level, first = [folder], None
    for _ in range(DEEPEST + 1):
        for candidate in level:
            kernel = candidate / "kernel"
            if kernel.is_dir() and _makefile(candidate) and any(kernel.rglob("*.c")):
                if _has_assignment(kernel):
                    return candidate
                first = first or candidate
        level = sorted(
            child
            for parent in level
            for child in _children(parent)
            if child.is_dir() and not child.is_symlink() and child.name not in SKIP
        )
    return first


def _has_assignment(kernel: Path) -> bool:
    return any(b"map_shared_pages" in source.read_bytes() for source in kernel.rglob("*.[ch]"))


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _makefile(folder: Path) -> Path | None:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        if (folder / name).is_file():
            return folder / name
    return None


def _copy(root: Path, target: Path, notes: list[str]) -> None:
    stale = crlf = total = count = 0
    for where, folders, files in os.walk(root):
        folders[:] = [d for d in folders if d not in SKIP and not (Path(where) / d).is_symlink()]
        here = target / Path(where).relative_to(root)
        here.mkdir(parents=True, exist_ok=True)
        for name in files:
            source = Path(where) / name
            if source.is_symlink() or not source.is_file():
                continue
            total, count = total + source.stat().st_size, count + 1
            if total > LARGEST or count > MOST:
                raise GuestError(f"{root}: larger than {LARGEST >> 20} MiB or {MOST} files")
            if source.suffix in STALE or name in ("kernel.sym",) or is_elf(source):
                stale += 1
                continue
            crlf += _copy_file(source, here / name)
    if stale:
        notes.append(f"{stale} built files (objects, images) came with the submission: left out")
    if crlf:
        notes.append(f"{crlf} files have Windows line ends (CRLF): changed in the copy")


def is_elf(path: Path) -> bool:
    """Does a file begin as ELF files do?"""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _copy_file(source: Path, target: Path) -> bool:
    """Copies one file; text gets Unix line ends, which leaves line numbers as they are."""
    data = source.read_bytes()
    windows = b"\r\n" in data and (source.suffix in TEXT or "akefile" in source.name)
    target.write_bytes(data.replace(b"\r\n", b"\n") if windows else data)
    shutil.copymode(source, target)
    return windows
