"""`top` on a terminal, as a user has it: tmux holds the screen, presses keys, and shows what is on it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from tests.harness import tree
from tests.harness.guest import Boot
from tests.trace.test_live import TOOL

PATIENCE = 120  # seconds until the screen shows what it must


class Terminal:
    """A terminal of 100 by 40 with one command in it."""

    def __init__(self, folder: Path, command: str):
        self.socket, self.ended = folder / "tmux", folder / "status"
        command += f"; echo $? > {self.ended}.new; mv {self.ended}.new {self.ended}"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", command)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self.socket), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tree.ROOT)
        return done.stdout

    def keys(self, *names: str) -> None:
        """Presses keys, by tmux's names."""
        self._tmux("send-keys", *names)

    def resize(self, width: int, height: int) -> None:
        """Drags the window's corner."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """What is on it, marked lines between \\x1b[7m and \\x1b[0m."""
        return self._tmux("capture-pane", "-p", "-e")

    def until(self, what: Callable[[str], object]) -> str:
        """Waits until the screen satisfies `what`; returns it."""
        end = time.monotonic() + PATIENCE
        while not what(shown := self.screen()):
            assert time.monotonic() < end, shown
            time.sleep(0.1)
        return shown

    def status(self) -> int:
        """Waits until the command has ended; its exit status, which tmux does not always come to know."""
        end = time.monotonic() + PATIENCE
        while not self.ended.exists():
            assert time.monotonic() < end, self.screen()
            time.sleep(0.1)
        return int(self.ended.read_text())

    def close(self) -> None:
        """Ends it all."""
        self._tmux("kill-server")


def marked(screen: str) -> str:
    """The process that is chosen: pid and name of the line in reverse."""
    found = re.search(r"\x1b\[7m\s*(\d+ \w+)", screen)
    return found[1] if found else ""


@pytest.fixture
def terminal(boot: Boot, tmp_path: Path) -> Iterator[tuple[Terminal, Callable[[str], str]]]:
    """top on a guest, and a function that runs commands in that guest."""
    guest = boot(audited=False, cpus=2)
    shown = Terminal(tmp_path, f"LC_ALL=C.UTF-8 {TOOL} top --ram {guest.ram}")
    try:
        yield shown, guest.run
    finally:
        shown.close()


def test_keys_and_picture(terminal: tuple[Terminal, Callable[[str], str]]) -> None:
    """Harts, processes and requests appear; arrows choose, p holds the picture, q leaves with status 0."""
    screen, run = terminal
    first = screen.until(lambda s: "crypto_srv" in s)
    assert "hart 0" in first and "hart 1" in first and "q quits" in first and "0 served" in first
    assert marked(first) == "1 init"
    screen.keys("Down")
    screen.until(lambda s: marked(s) == "2 crypto_srv")
    screen.keys("Down", "Down", "Down", "Down")  # no further than the last
    screen.until(lambda s: marked(s) == "3 sh")
    screen.keys("Up")
    chosen = screen.until(lambda s: marked(s) == "2 crypto_srv")
    assert "sleeps on" in chosen.split("\x1b[7m")[1]
    run("crypto_cli")
    screen.until(lambda s: "1 served" in s and re.search(r"[1-9][\d.]* us a request", s))
    screen.keys("p")
    screen.until(lambda s: "PAUSED" in s)
    run("crypto_cli")
    screen.keys("Up")  # keys still work
    held = screen.until(lambda s: marked(s) == "1 init")
    assert "1 served" in held
    screen.keys("p")
    screen.until(lambda s: "PAUSED" not in s and "2 served" in s)
    screen.resize(50, 12)  # a small window shows what fits, and nothing breaks
    screen.until(lambda s: "q quits" in s and len(s.splitlines()) <= 12)
    screen.keys("q")
    assert screen.status() == 0
