"""A guest as a user at its console meets it: boot, type, read, cut the power.

Relies on tools/run for QEMU's command line and on pexpect for the terminal. A panic, the death of
the crypto server or the end of QEMU fails whatever was being waited for at once, with the end of
the console.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect

from tests.harness import tree

PROMPT = r"\$ $"
HART_UP = r"hart \d+ starting\r?\n"
PANIC = r"(?m)panic: .*$"
SERVER_DEATH = r"(?m)^.*crypto_srv.*\b(?:died|killed|restart\w*)\b.*$"
LONGEST_LINE = 120  # bytes the guest's console takes in one line, with some to spare
WINDOW = 3000  # characters: more than anything a guest prints about itself
TAIL = 40  # lines of console shown with a failure


class GuestFailure(AssertionError):
    """A guest did not do what a test waited for; the message ends with the console's last lines."""


class Guest:
    """One running guest. Use it as a context manager, or call stop().

    Attributes:
        console: everything the guest has printed so far.
        status: exit status of the last run(), as the shell's $? gives it.
        info: what tools/run published about the guest (QEMU's pid, memory file, kernel, image).
    """

    def __init__(
        self,
        image: Path,
        *,
        kernel: Path = tree.KERNEL,
        cpus: int = 3,
        mem: str = "128M",
        icount: int | None = None,
        extra: tuple[str, ...] = (),
        qemu: str = "qemu-system-riscv64",
        log: Path | None = None,
        timeout: float = 180,
    ) -> None:
        """Starts the guest and waits for the first prompt and for all harts.

        Args:
            image: disk image, written to; tests pass a copy.
            kernel: ELF file to boot.
            cpus: harts.
            mem: memory, like 128M.
            icount: QEMU's -icount shift: the guest then counts instructions and is deterministic.
            extra: further arguments for QEMU.
            qemu: the emulator.
            log: where the console is also written.
            timeout: seconds one wait may take on a loaded machine, unless a call says otherwise.
        """
        self.image = image
        self.kernel = kernel
        self.status = 0
        self.timeout = timeout
        self.forgiven: set[str] = set()
        self._parts: list[str] = []
        self._marks = 0
        self._log = open(log, "a", encoding="utf-8") if log else None
        arguments = [
            "--qemu",
            qemu,
            "--kernel",
            str(kernel),
            "--image",
            str(image),
            "--cpus",
            str(cpus),
            "--mem",
            mem,
        ]
        if icount is not None:
            arguments += ["--icount", str(icount)]
        arguments += ["--", *extra]
        self._child = pexpect.spawn(
            str(tree.RUN), arguments, encoding="utf-8", codec_errors="replace", timeout=timeout
        )
        self._child.logfile_read = self
        self._child.delaybeforesend = None
        self.expect(r"\$ ")
        while len(re.findall(HART_UP, self.console)) < cpus:  # a busy host may start a hart late
            self.expect(HART_UP)
        self.info: dict[str, Any] = json.loads(self._published().read_text())

    def _published(self) -> Path:
        """guest.json, which tools/run writes once QEMU runs: a quick guest may have printed its prompt before."""
        path = self.folder / "guest.json"
        while not path.exists():
            if not self.alive:
                raise self.fail("the guest is gone")
            time.sleep(0.01)
        return path

    # pexpect writes what it reads here.
    def write(self, text: str) -> None:
        """Takes console output as it arrives."""
        self._parts.append(text)
        if self._log:
            self._log.write(text)

    def flush(self) -> None:
        """Pushes the log to disk, for a reader that watches a hanging test."""
        if self._log:
            self._log.flush()

    @property
    def console(self) -> str:
        """Everything printed so far, with plain newlines."""
        self._parts = ["".join(self._parts)]
        return self._parts[0].replace("\r\n", "\n")

    @property
    def launcher(self) -> int:
        """Pid of tools/run."""
        return int(self._child.pid)

    @property
    def folder(self) -> Path:
        """The run's folder under build/run, where `ram` and guest.json are."""
        return tree.BUILD / "run" / str(self.launcher)

    @property
    def ram(self) -> Path:
        """The guest's memory as a file; byte 0 is physical address 0x80000000."""
        return self.folder / "ram"

    @property
    def alive(self) -> bool:
        """Whether QEMU still runs."""
        return bool(self._child.isalive())

    def tail(self) -> str:
        """The console's last lines, for a failure's message."""
        return "\n".join(self.console.splitlines()[-TAIL:])

    def fail(self, what: str) -> GuestFailure:
        """The failure to raise when `what` happened."""
        return GuestFailure(f"{what}\n--- console, last lines ---\n{self.tail()}\n---")

    def forgive(self, *patterns: str) -> None:
        """Lets the given alarms (PANIC, SERVER_DEATH) pass: the test provokes them."""
        self.forgiven.update(patterns)

    def expect(
        self, pattern: str, timeout: float | None = None, window: int | None = None
    ) -> re.Match[str]:
        """Waits until the console shows `pattern`, reading from where the last wait ended.

        Args:
            pattern: regular expression.
            timeout: seconds; the guest's own if not given.
            window: how many of the last characters a match may begin in; None looks through all there
                are each time some arrive, which is too slow for a hundred kilobytes.

        Raises GuestFailure on a panic, a dead server, the end of QEMU, or after `timeout` seconds.
        """
        alarms = [alarm for alarm in (PANIC, SERVER_DEATH) if alarm not in self.forgiven]
        limit = self.timeout if timeout is None else timeout
        choices = [pattern, *alarms, pexpect.EOF, pexpect.TIMEOUT]
        index = self._child.expect(choices, timeout=limit, searchwindowsize=window)
        if index == 0:
            match: re.Match[str] = self._child.match
            return match
        if choices[index] is pexpect.EOF:
            raise self.fail(f"QEMU ended while waiting for {pattern!r}")
        if choices[index] is pexpect.TIMEOUT:
            raise self.fail(f"nothing like {pattern!r} within {limit:g} s")
        seen = self._child.match.group()
        try:  # the lines after it tell more: a register dump, a backtrace
            self._child.expect(pexpect.EOF, timeout=2)
        except pexpect.TIMEOUT:
            pass
        raise self.fail(f"the guest reported: {seen.strip()}")

    def keys(self, keys: str) -> None:
        """Types keys as they are; control keys are their ASCII codes (^U is \\x15)."""
        assert (
            len(keys) <= LONGEST_LINE
        ), f"the console takes lines of {LONGEST_LINE} bytes: {keys!r}"
        self._child.send(keys)

    def run(self, command: str, *, status: int | None = 0, timeout: float | None = None) -> str:
        """Runs one command line at the prompt.

        Args:
            command: what to type, without the newline.
            status: exit status it must have; None takes any.
            timeout: seconds it may take.

        Returns what it printed, without the echo and the prompt.
        """
        start = len(self.console)
        self.keys(command + "\n")
        self.expect(PROMPT, timeout, WINDOW)
        # Output may itself end in "$ ": only the mark the shell prints proves that it reads again, and not what
        # was typed, with "$?" in it, which a prompt that came late may follow.
        self._marks += 1
        mark = f":{self._marks}:"
        self.keys(f"echo {mark}$?\n")
        found = self.expect(rf"{mark}(-?\d+)\r?\n\$ ", timeout)
        self.status = int(found[1])
        text = self.console[start:]
        text = text[: text.rindex(f"{mark}{found[1]}\n")].replace(f"echo {mark}$?\n", "", 1)
        text = text.removeprefix(command + "\n").removesuffix("$ ")
        if status is not None and self.status != status:
            what = f"{command!r} ended with status {self.status}, not {status}"
            raise self.fail(f"{what}; it printed:\n{text}")
        return text

    def signal_qemu(self, number: int) -> None:
        """Sends QEMU a signal."""
        os.kill(self.info["qemu"], number)

    def kill(self) -> None:
        """Cuts the power: QEMU dies between two instructions, nothing is flushed."""
        self.signal_qemu(signal.SIGKILL)
        self._end()

    def hang_up(self) -> None:
        """Closes the terminal, as one closes a window; returns when the launcher has ended."""
        os.close(self._child.child_fd)
        self._child.wait()
        self._child.closed = True

    def stop(self) -> None:
        """Ends the guest if it still runs; more than once does no harm."""
        if self._child.closed:
            return
        if self._child.isalive():
            self._child.kill(signal.SIGTERM)
        self._end()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the guest to end by itself; returns QEMU's exit status."""
        try:
            self._child.expect(pexpect.EOF, timeout=self.timeout if timeout is None else timeout)
        except pexpect.TIMEOUT:
            raise self.fail("the guest did not end") from None
        self._child.wait()
        return int(self._child.exitstatus)

    def _end(self) -> None:
        try:
            self._child.expect(pexpect.EOF, timeout=30)
        except pexpect.TIMEOUT:
            pass
        self._child.close(force=True)
        if self._log:
            self._log.close()
            self._log = None

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


Boot = Callable[..., Guest]  # what the fixture `boot` gives: see tests/conftest.py
