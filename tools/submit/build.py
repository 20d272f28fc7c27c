"""Builds a copied tree: with either toolchain, without -Werror if need be, as far as it goes.

Relies on the tree's own Makefile, run in the sandbox. What the kernel and the image are called is
asked from the Makefile itself (`make -n qemu`), because some are renamed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from tools.guest.memory import GuestError
from tools.submit import sandbox
from tools.submit.tree import Tree, is_elf

PREFIXES = ("riscv64-unknown-elf-", "riscv64-linux-gnu-")
SECONDS = 90  # of processor time for one attempt; a tree takes about 10
ASKING = 15  # and for what only asks the Makefile
ERROR = re.compile(
    r"^[^\s:][^:\n]*:\d+:(?:\d+:)? (?:fatal )?error: .*|^.*No rule to make target.*"
    r"|(?:undefined reference to|multiple definition of) .*",
    re.M,
)
OURS = Path(__file__).resolve().parent.parent.parent


def toolchain() -> str:
    """The prefix of a compiler that is there; raises GuestError if there is none."""
    for prefix in PREFIXES:
        if shutil.which(prefix + "gcc"):
            return prefix
    raise GuestError("no RISC-V gcc: 'make setup' installs one")


@dataclass
class Attempt:
    """One try: how it was made, and the line that ended it (empty if it succeeded). bound: it went
    beyond what a build may use.
    """

    how: str
    error: str
    log: str = field(repr=False, default="")
    bound: bool = False


@dataclass
class Build:
    """What came of a tree. kernel is None if there is none to run."""

    tree: Tree
    prefix: str = PREFIXES[0]
    kernel: Optional[Path] = None
    attempts: list[Attempt] = field(default_factory=list)
    programs: dict[str, Path] = field(default_factory=dict)  # name without _ -> executable

    @property
    def clean(self) -> bool:
        """Did the first attempt, the tree as it came, succeed?"""
        return self.kernel is not None and len(self.attempts) == 1 and not self.attempts[0].error


def build(tree: Tree, jobs: int = 2) -> Build:
    """Builds until something comes out; the result tells what was needed for it."""
    made = Build(tree)
    _complete(tree)
    kernel, image, endless = _names(tree, made.prefix)
    if endless:
        made.attempts.append(Attempt("make -n qemu", endless, bound=True))
        return made
    toolchain()
    plain = [(p, False, f"{p}gcc, as it is") for p in PREFIXES if shutil.which(p + "gcc")]
    relaxed = [(p, True, f"{p}gcc, without -Werror") for p, _, _ in plain]
    for prefix, relax, how in plain + relaxed:
        if made.attempts and not relax and "[-Werror" in made.attempts[-1].error:
            continue  # the other compiler warns of the same
        if relax:
            _drop_werror(tree)
        attempt = _attempt(tree, prefix, [kernel, image], how, jobs)
        made.attempts.append(attempt)
        if not attempt.error or attempt.bound:
            break  # what has no end with one compiler has none with another
    else:
        prefix = plain[0][0]
        made.attempts.append(
            _attempt(tree, prefix, [kernel, image], "what can be built", jobs, "-k")
        )
    made.prefix = prefix
    path = tree.root / kernel
    made.kernel = path if path.is_file() else None
    made.programs = programs_of(tree.root)
    return made


def _attempt(
    tree: Tree, prefix: str, goals: list[str], how: str, jobs: int, *flags: str
) -> Attempt:
    clean = sandbox.run(["sh", "-c", _CLEAN], tree.root, 60)
    if clean.bound:
        return Attempt(how, clean.bound, bound=True)
    command = ["make", f"-j{jobs}", f"TOOLPREFIX={prefix}", *flags, *goals]
    result = sandbox.run(command, tree.root, SECONDS)
    return judge(how, result)


def judge(how: str, result: sandbox.Result) -> Attempt:
    """What make's output comes to."""
    if result.status == 0:
        return Attempt(how, "", result.output)
    found = ERROR.search(result.output)
    lines = result.output.strip().splitlines()
    error = result.bound or (found[0] if found else lines[-1] if lines else "make failed")
    return Attempt(how, error.strip(), result.output, bool(result.bound))


# Objects of an attempt before, which may be another compiler's.
_CLEAN = "find . -name '*.o' -delete; rm -rf build/user build/kernel"


def _complete(tree: Tree) -> None:
    """Adds what a tree may lack without any fault in its code."""
    if not (tree.root / "README").exists():
        (tree.root / "README").write_text("xv6\n", encoding="ascii")
        if not (tree.root / "README.md").exists():
            tree.notes.append("README is missing: an empty one stands in")
    if not (tree.root / "mkfs").is_dir():
        tree.notes.append("mkfs/ is missing: images are made with this project's")
        (tree.root / "mkfs").mkdir()
        (tree.root / "mkfs/mkfs.c").write_text("// missing\n", encoding="ascii")
        program = tree.root / "mkfs/mkfs"
        program.write_text('#!/bin/sh\n: > "$1"\n', encoding="ascii")  # lab.py makes the image
        program.chmod(0o755)
        later = time.time() + 86_400  # newer than all it is made from, so it stays
        os.utime(program, (later, later))


def _names(tree: Tree, prefix: str) -> tuple[str, str, str]:
    """Paths of the kernel and of the image, as the Makefile would give them to QEMU; and the bound
    that even this question reached, if it did.
    """
    answer = sandbox.run(["make", "-n", f"TOOLPREFIX={prefix}", "qemu"], tree.root, ASKING)
    asked = answer.output
    kernel = re.search(r"-kernel[= ]+(\S+)", asked)
    image = re.search(r"(?:file|--image)=([^,\s]+\.img)", asked)
    if kernel and kernel[1].strip("'") != "kernel/kernel":
        tree.notes.append(f"the kernel is called {kernel[1]} here")
    names = kernel[1] if kernel else "kernel/kernel", image[1] if image else "fs.img"
    return *names, answer.bound


def _drop_werror(tree: Tree) -> None:
    for makefile in [*tree.root.glob("*akefile"), *tree.root.glob("*/*akefile")]:
        if not makefile.is_file():
            continue
        text = makefile.read_text(encoding="utf-8", errors="surrogateescape")
        without = re.sub(r"-Werror(=\S+)?", "", text)
        makefile.write_text(without, encoding="utf-8", errors="surrogateescape")


def programs_of(root: Path) -> dict[str, Path]:
    """The user programs that were built, wherever this tree's Makefile puts them."""
    found: dict[str, Path] = {}
    for folder in ("user", "build/user", "."):
        for path in sorted((root / folder).glob("_*")):
            if path.is_file() and is_elf(path):
                found.setdefault(path.name[1:], path)
    return found


def as_written(built: Build, name: str, folder: Path) -> Optional[Path]:
    """A user program compiled with -O0, so that each access in its source is one in its code; None
    if this Makefile's commands can't be had for that. folder: for a copy of the tree, must not exist.
    """
    root = built.tree.root
    shutil.copytree(root, folder, symlinks=True)
    program, source = built.programs[name].relative_to(root), f"user/{name}.c"
    command = ["make", "-n", "-W", source, f"TOOLPREFIX={built.prefix}", str(program)]
    asked = sandbox.run(command, folder, 60)
    script = asked.output.replace("\\\n", " ").splitlines()
    lines = [line + " -O0" if "gcc" in line and source in line else line for line in script]
    (folder / program).unlink()
    sandbox.run(["sh", "-ec", "\n".join(lines)], folder, 60)
    return folder / program if (folder / program).is_file() else None
