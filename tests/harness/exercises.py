"""The exercises of docs/exercises.md as data, and one of them carried out as a reader would.

Relies on how the page writes its table: in the column "run" each command stands in backticks, `(gdb) ...` for those of
gdb, `make ...` for the build and $ before those of the host's shell, all others for the guest's prompt; in "observe",
backticks hold what then is to be read, word for word.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.gdb.test_live import free_port
from tests.harness import tree
from tests.harness.guest import PANIC, PROMPT, SERVER_DEATH, Guest
from tools.docs.drawing.session import gdb
from tools.mutants import apply, ids, names

PAGE = tree.ROOT / "docs" / "exercises.md"
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", re.M)
IN_GDB, IN_SHELL = "(gdb) ", "$ "
FEWER = (
    "fewer free frames"  # instead of a text: the last `free` of the guest has fewer than the first
)
TRIES = 5  # of a command whose mistake shows now and then


@dataclass(frozen=True)
class Exercise:
    """A row of the page. run: commands; shows: texts that must be read; fewer: whether frames must be lost."""

    id: str
    run: tuple[str, ...]
    shows: tuple[str, ...]
    fewer: bool
    hint: str
    answer: str

    @property
    def mutant(self) -> str:
        """The patch that makes it, the smallest if it is part of several."""
        return min((n for n in names() if self.id in ids(n)), key=len)

    def missing(self, said: str) -> list[str]:
        """What should be there to read and is not."""
        left = [text for text in self.shows if text not in said]
        free = [int(n) for n in re.findall(r"^free +(\d+) +\d+$", said, re.M)]
        if self.fewer and not (len(free) > 1 and free[-1] < free[0]):
            left.append(FEWER)
        return left


def exercises() -> dict[str, Exercise]:
    """Every row of the page by its id."""
    found = {}
    for id, run, observe, hint, answer in ROW.findall(PAGE.read_text(encoding="utf-8")):
        quoted = re.findall(r"`(.*?)`", observe)
        commands = tuple(re.findall(r"`(.*?)`", run.replace("\\|", "|")))
        found[id] = Exercise(id, commands, tuple(quoted), FEWER in observe, hint, answer)
    return found


def plant(exercise: Exercise | None, folder: Path, planted: Exercise | None) -> str:
    """Exchanges the mistake in a copy of the tree for another, and builds it.

    Args:
        exercise: the mistake to come; None for a sound tree.
        folder: the copy.
        planted: the mistake that is in it.

    Returns what make said; it may have failed.
    """
    if planted:
        apply(planted.mutant, folder, reverse=True)
    if exercise:
        apply(exercise.mutant, folder)
    return tree.make("-j2", "all", cwd=folder).stdout


def carry_out(
    exercise: Exercise, folder: Path, scratch: Path, built: str, tries: int = TRIES
) -> list[str]:
    """Runs an exercise's commands in a tree that is built.

    Args:
        exercise: which.
        folder: the tree.
        scratch: a folder for the disk image.
        built: what make said.
        tries: how often the last command may be typed until it shows.

    Returns what the page says one observes and was not to be seen; empty if all was.
    """
    said = built if any(c.startswith("make ") for c in exercise.run) else ""
    shell = [c.removeprefix(IN_SHELL) for c in exercise.run if c.startswith(IN_SHELL)]
    for command in shell:
        done = subprocess.run(command, shell=True, cwd=folder, stdout=subprocess.PIPE, text=True)
        said += done.stdout
    typed = [c for c in exercise.run if not c.startswith(("make ", IN_SHELL))]
    if typed:
        image = tree.copy_image(folder / "fs.img", scratch / "exercise.img")
        port = free_port()
        extra = ("-gdb", f"tcp:127.0.0.1:{port}")
        with Guest(image, kernel=folder / "kernel" / "kernel", extra=extra) as guest:
            guest.forgive(PANIC, SERVER_DEATH)
            said += _at_the_guest(exercise, typed, guest, port, tries)
    return exercise.missing(said)


def _at_the_guest(
    exercise: Exercise, commands: list[str], guest: Guest, port: int, tries: int
) -> str:
    """Types commands at a guest's prompt and in gdb until all is there to read; -> everything read."""
    while len(commands) > 1 and not commands[0].startswith(IN_GDB):
        guest.run(commands.pop(0), status=None)
    if commands[0].startswith(IN_GDB):
        with gdb(port, guest.kernel) as ask:
            answers = "\n".join(_with_gdb(commands, guest, ask))
        # Without gdb the guest goes on, but only what it says after `detach` belongs to the exercise.
        return answers + (_read_on(exercise, guest) if commands[-1] == IN_GDB + "detach" else "")
    for _ in range(tries):
        guest.keys(commands[0] + "\n")
        if not exercise.missing(_read_on(exercise, guest)):
            break
    return guest.console


def _with_gdb(commands: list[str], guest: Guest, ask: Callable[[str], str]) -> list[str]:
    """The answers of gdb. What the page has one type after `continue` is typed ahead: gdb waits for the guest."""
    answers = []
    for command, following in zip(commands, [*commands[1:], IN_GDB]):
        if command.startswith(IN_GDB):
            if not following.startswith(IN_GDB):
                guest.keys(following + "\n")
            answers.append(ask(command.removeprefix(IN_GDB)))
    return answers


def _read_on(exercise: Exercise, guest: Guest) -> str:
    """Reads the console until nothing is missing or the guest has nothing more to say; -> the console."""
    while exercise.missing(guest.console):
        texts = [re.escape(t) for t in exercise.shows if t not in guest.console]
        seen = guest.expect("|".join([*texts, PROMPT]))
        if seen.group().endswith("$ "):
            break
    return guest.console
