"""A gdb with the extension, held at its prompt: commands go in, what they print comes out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[3]
PROMPT = "(gdb) "
PATIENCE = 300  # seconds a command may take on a busy machine
QUIET = ("set pagination off", "set style enabled off", "set confirm off", "set width 0")


@contextmanager
def gdb(port: int, kernel: Path) -> Iterator[Callable[[str], str]]:
    """Connects to the guest whose stub listens at `port`. Gives a function from a command to its answer."""
    words = ["-q", "-nx", *(part for line in QUIET for part in ("-ex", line))]
    child = pexpect.spawn(
        "gdb-multiarch",
        [*words, "-x", str(ROOT / "tools/gdb/xv6.py"), str(kernel)],
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(200, 240),
        env={**os.environ, "TERM": "dumb"},
    )
    child.delaybeforesend = None

    def ask(command: str) -> str:
        child.sendline(command)
        child.expect_exact(PROMPT)
        said = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\r", "", str(child.before))
        return said.partition("\n")[2].rstrip("\n")

    with closing(child):
        child.expect_exact(PROMPT)
        ask(f"target remote 127.0.0.1:{port}")
        yield ask
