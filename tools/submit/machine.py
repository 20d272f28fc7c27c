"""One QEMU guest under watch: its console, its clock, its memory, its snapshot.

Time is the guest's own: with -icount the machine timer advances by a fixed amount for each
instruction executed, so a verdict about a hang is the same on a slow host. Relies on QEMU's QMP and
on /proc/PID/mem, through which the guest's memory is read without copying it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Optional, Protocol, Sequence

import numpy as np

from tools.guest.memory import RAM_BASE, Extent, GuestError, Memory
from tools.submit.findings import plain
from tools.submit.stub import Stub

QEMU = "qemu-system-riscv64"
MEMORY = 128 << 20  # bytes; xv6's PHYSTOP
TICKS_PER_SECOND = 10_000_000  # of the machine timer (QEMU virt)
MTIME, MTIMECMP = 0x200_BFF8, 0x200_4000  # its address, and the first hart's compare: CLINT
SHIFT = 6  # -icount: 2**6 ns a instruction
FLOOD = 2 << 20  # bytes of console output after which a guest is stopped
PANIC = re.compile(rb"panic: ([^\r\n]*)")


class Watcher(Protocol):
    """Who has the guest on QEMU's gdb stub: it alone lets the guest run and stops it."""

    def fileno(self) -> int:
        """What becomes readable when the guest has stopped by itself."""

    def resume(self) -> None:
        """Lets the guest run."""

    def halt(self) -> None:
        """Stops it."""

    def serve(self) -> None:
        """Deals with a stop, and lets the guest go on."""


class Flood(GuestError):
    """The guest prints without end."""


_LIBC = ctypes.CDLL(None)
_LIBC.process_vm_readv.restype = ctypes.c_ssize_t
_IOVEC = np.dtype([("base", np.uint64), ("length", np.uint64)])  # struct iovec
_IOV_MAX = 1024  # Linux's


class ProcessMemory(Memory):
    """The guest's RAM through /proc/PID/mem of the QEMU that this process started."""

    def __init__(self, pid: int, path: Path, size: int):
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            starts = [
                int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(str(path))
            ]
        if not starts:
            raise GuestError(f"{path}: QEMU has not mapped its memory file")
        self.pid = pid
        self.start, self.file = min(starts), os.open(f"/proc/{pid}/mem", os.O_RDWR)
        self._extents = [(RAM_BASE, RAM_BASE + size)]

    def extents(self) -> Sequence[Extent]:
        return self._extents

    def _fetch(self, pa: int, size: int) -> bytes:
        return os.pread(self.file, size, self.start + pa - RAM_BASE)

    def links(self) -> Sequence[int]:
        """Gathered by process_vm_readv(2): a call for each frame would take ten times as long."""
        frames = self._extents[0][1] - RAM_BASE >> 12
        first = np.zeros(frames, np.uint64)
        there = np.empty(frames, _IOVEC)
        there["base"] = self.start + (np.arange(frames, dtype=np.uint64) << np.uint64(12))
        there["length"] = 8
        for at in range(0, frames, _IOV_MAX):
            n = min(_IOV_MAX, frames - at)
            here = np.array([(first.ctypes.data + 8 * at, 8 * n)], _IOVEC)
            spans = here.ctypes.data, 1, there.ctypes.data + _IOVEC.itemsize * at, n, 0
            if _LIBC.process_vm_readv(self.pid, *map(ctypes.c_ulong, spans)) != 8 * n:
                raise GuestError("QEMU's memory cannot be read: it has ended")
        found: list[int] = first.tolist()
        return found

    def write(self, pa: int, data: bytes) -> None:
        """Stores bytes, as a second hart would."""
        os.pwrite(self.file, data, self.start + pa - RAM_BASE)

    def close(self) -> None:
        os.close(self.file)


class Monitor:
    """A QMP connection."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        until = time.monotonic() + 60
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise GuestError("QEMU does not start") from None
                time.sleep(0.01)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """One command; its result. Raises GuestError with QEMU's words if it fails."""
        try:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.file.flush()
            while line := self.file.readline():
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise GuestError(f"QEMU: {answer['error'].get('desc')}")
        except OSError as error:
            raise GuestError(f"QEMU's monitor: {error}") from None
        raise GuestError("QEMU has ended")

    def human(self, line: str) -> str:
        """One command of the human monitor; its text."""
        return str(self.ask("human-monitor-command", **{"command-line": line}))


def _limits() -> None:
    """In QEMU before it starts: dies with its parent, writes no core, not more than a disk image."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


class Machine:
    """A running guest.

    folder: an empty directory for its sockets and its copy of the image. ram: the memory file of a
    snapshot, mapped copy-on-write; None starts from zeros. state: the snapshot's device state.
    """

    def __init__(
        self,
        kernel: Path,
        image: Path,
        folder: Path,
        cpus: int = 1,
        ram: Optional[Path] = None,
        state: Optional[Path] = None,
        share: bool = False,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.console = folder, b""
        self.kept = share  # the snapshot's folder stays, for guests to start from
        self.ram = ram or folder / "ram"
        self.watcher: Optional[Watcher] = None
        disk = folder / "fs.img"
        disk.write_bytes(image.read_bytes())
        line = [QEMU, "-machine", "virt,memory-backend=ram", "-m", "128M", "-smp", str(cpus)]
        line += ["-object", f"memory-backend-file,id=ram,share={'on' if share else 'off'},"]
        line[-1] += f"mem-path={self.ram},size={MEMORY}"
        line += ["-bios", "none", "-kernel", str(kernel), "-display", "none", "-serial", "stdio"]
        line += ["-qmp", f"unix:{folder}/qmp,server=on,wait=off"]
        line += ["-global", "virtio-mmio.force-legacy=false"]
        line += ["-drive", f"file={disk},if=none,format=raw,id=x0,cache=unsafe"]
        line += ["-device", "virtio-blk-device,drive=x0,bus=virtio-mmio-bus.0"]
        line += ["-S", "-icount", f"shift={SHIFT}"]
        line += ["-gdb", f"unix:{folder}/gdb,server=on,wait=off"]
        if state:
            line += ["-incoming", "defer"]
        self.errors = open(folder / "qemu.err", "wb")
        self.process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            preexec_fn=_limits,
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        try:
            self.monitor = Monitor(folder / "qmp", self.process)
            if state:
                self._load(state)
                self._rearm(cpus)
            self.memory = ProcessMemory(self.process.pid, self.ram, MEMORY)
        except GuestError:
            self.stop()
            raise

    def run(self) -> None:
        """Lets the guest run."""
        if self.watcher:
            self.watcher.resume()
        else:
            self.monitor.ask("cont")

    def pause(self) -> None:
        """Stops it, for a look."""
        if self.watcher:
            self.watcher.halt()
        else:
            self.monitor.ask("stop")

    def send(self, text: str) -> None:
        """Types at its console."""
        os.write(self.input, text.encode())

    def pump(self, seconds: float) -> bool:
        """Takes what it prints, waiting at most `seconds` for some; was there any?"""
        until = time.monotonic() + seconds
        sources: list[Any] = [self.output] + ([self.watcher] if self.watcher else [])
        while True:
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select(sources, [], [], left)
            if not ready:
                return False
            if self.output in ready:
                return self._take()
            assert self.watcher
            self.watcher.serve()

    def _take(self) -> bool:
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            raise GuestError("QEMU has ended")
        self.console += data
        if len(self.console) > FLOOD:
            raise Flood(f"more than {FLOOD >> 20} MiB of console output")
        return True

    def time(self) -> float:
        """Seconds of the guest's own time since it started; with -icount, instructions executed."""
        return self.ticks() / TICKS_PER_SECOND

    def scheduling(self) -> tuple[float, float]:
        """Seconds that the host has let QEMU run, and that QEMU was ready and had to wait (proc(5))."""
        ran = waited = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                one = path.read_text("ascii").split()
            except OSError:
                continue  # a thread that has just ended
            ran, waited = ran + int(one[0]), waited + int(one[1])
        return ran / 1e9, waited / 1e9

    def ticks(self) -> int:
        """The machine timer."""
        text = self.monitor.human(f"xp /1gx {MTIME:#x}")
        return int(text.split(":")[1], 16)

    def registers(self) -> list[dict[str, int]]:
        """pc and the general registers of each hart, by xv6's names for them."""
        harts: list[dict[str, int]] = []
        for line in self.monitor.human("info registers -a").splitlines():
            if re.match(r"\s*pc\s", line):
                harts.append({})
            for name, value in re.findall(r"(?:x\d+/)?(\w+)\s+([0-9a-f]{8,16})(?=\s|$)", line):
                if harts:
                    harts[-1]["s0" if name == "fp" else name] = int(value, 16)
        return harts

    @property
    def panic(self) -> Optional[str]:
        """The message of a panic on the console; None if there was none."""
        found = PANIC.search(self.console)
        return plain(found[1].decode("ascii", "replace")).strip() if found else None

    def _ram_stays(self) -> None:
        one = {"capability": "x-ignore-shared", "state": True}
        self.monitor.ask("migrate-set-capabilities", capabilities=[one])

    def _load(self, state: Path) -> None:
        self._ram_stays()
        self.monitor.ask("migrate-incoming", uri=f"exec:cat {state}")
        while self.monitor.ask("query-status")["status"] == "inmigrate":
            time.sleep(0.002)

    def _rearm(self, cpus: int) -> None:
        """QEMU 7.2 restores the machine timers' compare registers, but not that they will fire."""
        stub = Stub(str(self.folder / "gdb"))
        for hart in range(cpus):
            address = MTIMECMP + 8 * hart
            text = self.monitor.human(f"xp /1gx {address:#x}")
            stub.store(address, int(text.split(":")[1], 16).to_bytes(8, "little"))
        stub.close()

    def save(self, state: Path) -> None:
        """Writes the devices' state; RAM stays in its file. The guest is stopped and stays so."""
        self._ram_stays()
        self.monitor.ask("migrate", uri=f"exec:cat > {state}")
        while (status := self.monitor.ask("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled"):
                raise GuestError("QEMU cannot save its state")
            time.sleep(0.005)

    def stop(self) -> None:
        """Ends the guest and removes what it wrote."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.errors.close()
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
