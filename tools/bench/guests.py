"""Kernels and disk images to measure: this tree's, and other xv6 trees' built in a copy, each with a
program of ours as /init. What cannot be built ends the measurement with one line.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "bench"


def fail(message: str) -> NoReturn:
    """One line, status 2."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


def build(command: list[str], cwd: Path) -> None:
    """Runs a build step; its last lines are the message if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        fail(f"{cwd}: {' '.join(command)}: {tail}")


def own_image(
    program: Path, files: Sequence[Path] = (), blocks: int = 0, name: str = ""
) -> tuple[Path, Path]:
    """This tree's kernel, and an image whose /init is `program`, which has been built.

    Args:
        program: what init is.
        files: what else is on the image, beside the crypto server.
        blocks: of the image, 0 for mkfs's own number.
        name: of the image's folder, if several have one program.
    """
    scratch = WORK / (name or program.name)
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, scratch / "init")
    image = scratch / "fs.img"
    size = ["-b", str(blocks)] if blocks else []
    parts = map(str, [scratch / "init", ROOT / "build/fs/crypto_srv", *files])
    build([str(ROOT / "build/mkfs/mkfs"), *size, str(image), *parts], ROOT)
    return ROOT / "kernel" / "kernel", image


def tree_image(source: Path, program: str) -> tuple[Path, Path]:
    """Another tree's kernel and image, built in a copy whose user/init.c is the text `program`."""
    if not (source / "kernel").is_dir() or not (source / "user" / "user.h").is_file():
        fail(f"{source}: not an xv6 tree (no kernel/, or no user/user.h)")
    copy = WORK / "trees" / source.resolve().name.replace(" ", "_")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git"))
    (copy / "user" / "init.c").write_text(program)
    (copy / "README").touch()  # some trees lost it, and their image wants it
    makefile = copy / "Makefile"
    makefile.write_text(makefile.read_text().replace("-Werror", ""))
    build(["make", "kernel/kernel", "fs.img"], copy)
    return copy / "kernel" / "kernel", copy / "fs.img"


def machine(kernel: Path, image: Path, cpus: int, memory: str = "128M") -> list[str]:
    """QEMU's command line for any xv6 tree's kernel; the image is not written to."""
    command = ["qemu-system-riscv64", "-machine", "virt", "-bios", "none", "-kernel", str(kernel)]
    command += ["-m", memory, "-smp", str(cpus), "-nographic"]
    command += ["-global", "virtio-mmio.force-legacy=false"]
    command += ["-drive", f"file={image},if=none,format=raw,id=x0,snapshot=on"]
    return [*command, "-device", "virtio-blk-device,drive=x0,bus=virtio-mmio-bus.0"]
