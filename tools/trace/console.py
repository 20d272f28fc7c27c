"""A guest at its console, for recording: boots it through tools/run, types commands, tells when it has panicked."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Optional

import pexpect

from tools.trace.follow import promptly
from tools.trace.tracefile import TraceError

ROOT = Path(__file__).resolve().parent.parent.parent
PROMPT = r"\$ $"
PANIC = r"panic[ :].*\n"
LINE = 120  # bytes the guest's console takes in one line, with some to spare
PATIENCE = 600  # seconds a command may take


class Console:
    """One guest. Commands run in a thread of their own; `done` is set when the last has ended or something broke."""

    def __init__(
        self,
        kernel: Path,
        image: Path,
        cpus: int,
        mem: str,
        bootargs: str,
        options: tuple[str, ...] = (),
    ):
        """Boots a guest on a copy of `image`, with further `options` of tools/run. Raises TraceError if it does not
        start.
        """
        self.folder = Path(tempfile.mkdtemp(prefix=f"xv6-trace-{os.getpid()}-", dir=ROOT / "build"))
        copy = self.folder / "fs.img"
        shutil.copyfile(image, copy)
        arguments = [
            "--kernel",
            str(kernel),
            "--image",
            str(copy),
            "--cpus",
            str(cpus),
            "--mem",
            mem,
            *options,
        ]
        self.child = pexpect.spawn(
            str(ROOT / "tools" / "run"),
            [*arguments, "--", "-append", bootargs],
            encoding="utf-8",
            codec_errors="replace",
            timeout=PATIENCE,
        )
        self.child.delaybeforesend = None
        self.text: list[str] = []
        self.child.logfile_read = self
        self.panicked = False
        self.error: Optional[str] = None
        self.typed = False  # every line, whatever became of the guest afterwards
        self.done = threading.Event()
        self.info = self._info()

    def write(self, text: str) -> None:
        """Takes console output as pexpect reads it."""
        self.text.append(text)

    def flush(self) -> None:
        """pexpect wants it."""

    def _info(self) -> dict[str, Any]:
        path = ROOT / "build" / "run" / str(self.child.pid) / "guest.json"
        ram = path.parent / "ram"
        while not path.exists() or not ram.exists() or ram.stat().st_size == 0:  # QEMU sizes it
            if not self.child.isalive():
                said = self.child.read().strip()
                self.close()
                raise TraceError(f"the guest did not start: {said}")
            time.sleep(0.01)
        info: dict[str, Any] = json.loads(path.read_text())
        return info

    def forget_disk(self) -> None:
        """Removes the disk's name; for a guest that runs, and so has it open. Nothing can be left behind then."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, lines: list[str]) -> None:
        """Types the lines one after the other, in a thread, waiting for the prompt before each and after the last."""
        threading.Thread(target=self._run, args=(lines,), daemon=True).start()

    def _run(self, lines: list[str]) -> None:
        try:
            with promptly():  # or the follower would wait for this thread's turn at python's lock
                self._type(lines)
        except (OSError, pexpect.ExceptionPexpect) as error:
            self.error = f"lost its console ({type(error).__name__})"
        finally:
            self.done.set()

    def _type(self, lines: list[str]) -> None:
        for n, line in enumerate([*lines, ""]):
            self.typed = n > 0 and n >= len(lines)
            found = self.child.expect([PROMPT, PANIC, pexpect.EOF, pexpect.TIMEOUT])
            if found:
                self.panicked = found == 1
                silent = f"printed no prompt for {PATIENCE} s"
                self.error = ("", "panicked", "ended", silent)[found]
                return
            if line:
                self.child.send(line + "\n")

    def said(self) -> str:
        """Everything on the console so far."""
        return re.sub(r"\r", "", "".join(self.text))

    def close(self) -> None:
        """Ends the guest and removes its disk."""
        self.child.close(force=True)
        self.forget_disk()
