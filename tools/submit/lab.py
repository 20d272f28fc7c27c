"""Where probes are made: the agent compiled for a tree, an image with it as /init, a booted snapshot.

Each guest starts from the snapshot, so it is as fresh as one just booted. The snapshot is taken
where the disk driver starts, because QEMU cannot restore a virtio device that xv6 has set up.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Optional

from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.guest.sv39 import S
from tools.submit import sandbox
from tools.submit.build import OURS, Build, toolchain
from tools.submit.code import functions_of
from tools.submit.machine import Machine
from tools.submit.session import Session
from tools.submit.systemcalls import NEEDED, numbers

HERE = Path(__file__).resolve().parent / "guest"
SERVER = "exit getpid sleep take_shared_memory_request remove_shared_memory_request".split()
FLAGS = (
    "-O1 -g -std=gnu11 -ffreestanding -nostdlib -nostartfiles -static -fno-pie -no-pie "
    "-mcmodel=medany -march=rv64imac -mabi=lp64 -fno-omit-frame-pointer -fno-stack-protector "
    "-Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments"
).split()
SNAPSHOT_AT = "virtio_disk_init"
LOOP = b"\x6f\x00\x00\x00"  # j .
BOOT = 120.0  # seconds of guest time until the snapshot
TOO_LONG = 400.0  # seconds of real time: a guard against a QEMU that itself is stuck


class Lab:
    """Makes guests of one built tree. folder: an empty directory, in memory if possible."""

    def __init__(self, build: Build, folder: Path, timeout: float = 6.0):
        if build.kernel is None:
            raise GuestError("the kernel does not build")
        self.build, self.folder, self.timeout = build, folder, timeout
        self.kernel = build.kernel
        self.elf = Elf(str(build.kernel))
        self.numbers = numbers(build)
        self.numbers.learn(functions_of(build.prefix, build.kernel))
        lacking = [n for n in NEEDED if n not in self.numbers]
        if lacking:
            raise GuestError(f"kernel/syscall.h: no SYS_{lacking[0]}")
        self.nonce = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards _snapshots, _stand_in
        self.mark = S  # the bit of a shared page; shape.py may learn of another
        self.cold = False  # every guest boots from the start, without a snapshot
        self._stand_in: Optional[tuple[Elf, Path]] = None
        self._snapshots: dict[int, tuple[Path, Path]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.agent = self._compile("agent", NEEDED)
        self.image = self.make_image()

    def _compile(self, source: str, calls: list[str]) -> Elf:
        """A program of guest/, with this tree's numbers of the system calls it makes."""
        target = self.folder / f"_{source}"
        prefix = toolchain()
        defines = [f"-DNUMBER_{n}={self.numbers[n]}" for n in calls]
        command = [f"{prefix}gcc", *FLAGS, *defines, "-T", str(HERE / "agent.ld")]
        command += ["-o", str(target), str(HERE / f"{source}.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GuestError(f"the {source} does not compile: {done.stderr.strip()}")
        return Elf(str(target))

    def stand_in(self) -> tuple[Elf, Path]:
        """A server of ours, and an image that has it in place of the tree's crypto_srv."""
        with self._lock:
            if self._stand_in is None:
                server = self._compile("server", SERVER)
                self._stand_in = server, self.make_image({"crypto_srv": Path(server.path)})
            return self._stand_in

    def make_image(self, replaced: Optional[dict[str, Path]] = None) -> Path:
        """A disk image: the agent as /init, and the tree's programs, some of them `replaced`."""
        stage = Path(tempfile.mkdtemp(prefix=".probe", dir=self.build.tree.root))
        (stage / "user").mkdir()
        (stage / "README").write_text("probe\n", encoding="ascii")
        wanted = {n: p for n, p in self.build.programs.items() if n not in ("init", "usertests")}
        strip = f"{self.build.prefix}objcopy"
        for name, path in {**wanted, **(replaced or {}), "init": Path(self.agent.path)}.items():
            command = [strip, "-S", str(path), str(stage / "user" / f"_{name}")]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                self.build.programs.pop(name, None)
                self.build.tree.notes.append(f"{path.name} is no program: left out")
        files = sorted(f"user/{p.name}" for p in (stage / "user").iterdir())
        for mkfs in self._mkfs(stage):
            plain = mkfs == "./mkfs-ours"
            for f in files if plain else []:
                shutil.copy(stage / f, stage / Path(f).name[1:])
            names = [Path(f).name[1:] for f in files] if plain else files
            (stage / "fs.img").unlink(missing_ok=True)
            sandbox.run([mkfs, "fs.img", "README", *names], stage, 60)
            image = stage / "fs.img"
            if image.is_file() and image.stat().st_size > 1 << 20:
                return image
        raise GuestError("no disk image could be made: neither the tree's mkfs nor ours works")

    def _mkfs(self, stage: Path) -> list[str]:
        """Programs that may make the image, the tree's own first, copied beside it."""
        found = []
        for path in (self.build.tree.root / "mkfs/mkfs", self.build.tree.root / "build/mkfs/mkfs"):
            if path.is_file():
                ours = "build" in path.parts
                name = "mkfs-ours" if ours else "mkfs-tree"
                shutil.copy(path, stage / name)
                found.append(f"./{name}")
        own = OURS / "build/mkfs/mkfs"
        if "./mkfs-ours" not in found and own.is_file():
            shutil.copy(own, stage / "mkfs-ours")
            found.append("./mkfs-ours")
        return found

    def guest(self, cpus: int = 1, image: Optional[Path] = None) -> Session:
        """A fresh guest at the agent's first answer, with this lab's nonce set. image: another disk
        than the usual.
        """
        folder = self.folder / f"guest{next(self._numbers)}"
        with self._lock:
            ram, state = self._snapshot(cpus)
        machine = Machine(self.kernel, image or self.image, folder, cpus, ram=ram, state=state)
        return Session(
            machine, self.elf, self.agent, self.numbers, self.nonce, self.timeout, self.mark
        )

    def _snapshot(self, cpus: int) -> tuple[Optional[Path], Optional[Path]]:
        """Memory file and device state at SNAPSHOT_AT; (None, None) if this kernel has no such."""
        symbol = self.elf.symbols.get(SNAPSHOT_AT)
        if symbol is None or self.cold:
            return None, None
        if cpus not in self._snapshots:
            folder = self.folder / f"boot{cpus}"
            machine = Machine(self.kernel, self.image, folder, cpus, share=True)
            try:
                self._boot(machine, symbol.address)
                machine.save(folder / "state")
            finally:
                machine.stop()
            self._snapshots[cpus] = (folder / "ram", folder / "state")
        return self._snapshots[cpus]

    def check_clock(self) -> None:
        """Gives snapshots up if time stands still after one: QEMU 7.2 forgets a timer that a kernel
        has set through stimecmp before it.
        """
        if "uptime" not in self.numbers:
            return
        with self.guest() as g:
            before = g.main.call("uptime").value
            g.settle(0.5)  # five ticks
            self.cold = g.main.call("uptime").value == before

    def _boot(self, machine: Machine, at: int) -> None:
        """Runs until a hart reaches `at`, and leaves it stopped there.

        The instruction there is a jump to itself meanwhile: stopped by a breakpoint, QEMU could not
        save its state.
        """
        pa = at - max(s.vaddr - s.paddr for s in self.elf.segments)
        original = machine.memory.read(pa, 4)
        machine.memory.write(pa, LOOP)
        until = time.monotonic() + TOO_LONG
        machine.run()
        while not any(r.get("pc") == at for r in machine.registers()):
            machine.pump(0.02)
            if machine.panic is not None:
                raise GuestError(f"the kernel panics while it boots: {machine.panic}")
            if machine.time() > BOOT or time.monotonic() > until:
                raise GuestError("the kernel does not come up")
        machine.pause()
        machine.memory.write(pa, original)
