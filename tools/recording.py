"""A recorded run, as a folder that replays anywhere the same QEMU is: kernel, disk and QEMU's log.

`kernel`, `fs.img` and the programs in `user` are copies, `disk.qcow2` lies over fs.img and takes
what the guest writes and the snapshots, `log` is what came from outside (keys, clocks),
recording.json the machine. QEMU 7.2 replays with one hart, a fixed icount shift, snapshots in a
qcow2 behind blkreplay, and no monitor multiplexed with the console; loading a snapshot into a QEMU
that runs hangs or kills it, so going back means a fresh QEMU that starts from a snapshot
(tools/gdb/replay.py).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

SHIFT = 3  # 2^3 ns of guest time for each instruction
START = "init"  # the snapshot of power-on
PARTS = ("kernel", "fs.img", "disk.qcow2", "log", "recording.json")
NUDGE = 0.0002  # seconds between two requests to a QEMU that replays


class RecordingError(Exception):
    """What is wrong with a recording, as one line."""


class Recording:
    """One recording's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kernel, self.image, self.disk, self.log, self.facts = (folder / p for p in PARTS)
        self.programs = folder / "user"

    def make(self, kernel: Path, image: Path, programs: Path, facts: dict[str, Any]) -> None:
        """Begins a recording in the folder, in place of one that is there.

        Args:
            kernel: ELF file; copied, like the image, so that a later build changes nothing.
            image: raw disk image.
            programs: where the programs' executables with their symbols are, if anywhere.
            facts: what replaying needs to know: mem in bytes, extra arguments, QEMU's version.
        """
        with contextlib.suppress(FileNotFoundError):
            strange = [
                p.name for p in self.folder.iterdir() if p.name not in (*PARTS, "console", "user")
            ]
            if strange:
                raise RecordingError(f"{self.folder}: holds {strange[0]}, so it is no recording")
        if shutil.which("qemu-img") is None:
            raise RecordingError("a recording needs qemu-img; 'make setup' installs it")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copyfile(kernel, self.kernel)
        shutil.copyfile(image, self.image)
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.image.name, "-F", "raw"]
        subprocess.run([*command, str(self.disk)], check=True)
        self.programs.mkdir()
        for program in programs.glob("_*"):
            shutil.copyfile(program, self.programs / program.name)
        self.facts.write_text(json.dumps(facts, indent=1) + "\n")

    def read(self, version: str) -> dict[str, Any]:
        """The facts of a recording that QEMU `version` can replay; raises RecordingError."""
        for part in PARTS:
            if not (self.folder / part).is_file():
                raise RecordingError(
                    f"{self.folder}: no recording ({part} is missing); make record"
                )
        try:
            facts: dict[str, Any] = json.loads(self.facts.read_text())
            made = facts["qemu"]
        except (ValueError, KeyError, TypeError):
            raise RecordingError(f"{self.facts}: not readable as a recording's facts") from None
        if made != version:
            raise RecordingError(
                f"{self.folder}: recorded with QEMU {made}, this is {version}; record it again"
            )
        if not int.from_bytes(self.log.read_bytes()[:4], "big"):
            raise RecordingError(f"{self.log}: unfinished, QEMU was killed; record it again")
        return facts

    def arguments(self, mode: str, snapshot: str) -> list[str]:
        """QEMU's arguments for the disk and the clock; mode is "record" or "replay"."""
        return [
            *("-display", "none", "-serial", "stdio", "-monitor", "none", "-net", "none"),
            *("-icount", f"shift={SHIFT},rr={mode},rrfile={self.log},rrsnapshot={snapshot}"),
            *("-drive", f"file={self.disk},if=none,id=disk"),
            *("-drive", "driver=blkreplay,if=none,image=disk,id=x0"),
            *(["-no-shutdown"] if mode == "replay" else []),
        ]


def nudge(qemu: socket.socket) -> None:
    """Keeps a replaying QEMU awake through its control socket, until QEMU closes it.

    The log says what time it is, yet QEMU sleeps for real while the guest idles; each request makes
    its main loop turn, and the minutes somebody thought at a prompt pass in milliseconds. While the
    guest is stopped nothing is sent.
    """

    def turn() -> None:
        with contextlib.suppress(OSError, ValueError), qemu, qemu.makefile("rw") as control:
            ask(control, "qmp_capabilities")
            while True:
                if ask(control, "query-status")["running"]:
                    time.sleep(NUDGE)
                else:
                    while json.loads(control.readline()).get("event") != "RESUME":
                        pass

    threading.Thread(target=turn, daemon=True).start()


def ask(control: Any, command: str) -> dict[str, Any]:
    """A command's answer from QEMU; ValueError when QEMU has gone."""
    control.write(json.dumps({"execute": command}) + "\n")
    control.flush()
    while True:
        answer = json.loads(control.readline())
        if "return" in answer:
            found: dict[str, Any] = answer["return"]
            return found
