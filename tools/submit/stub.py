"""QEMU's gdb stub as a stopwatch: run to an instruction, stop at a read or write of a variable.

Relies on the GDB remote serial protocol only (GDB manual, appendix E); memory is read elsewhere.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Optional

from tools.guest.memory import REGISTERS, GuestError

CODE, WRITE, READ = "0", "2", "3"  # the protocol's Z packets: software breakpoint, watchpoints
ORDER = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6 pc"
).split()  # of the stub's general registers
assert set(REGISTERS) == set(ORDER) - {"zero"}


@dataclass
class Stop:
    """Where the guest stopped: the hart (from 0), and, if a watchpoint hit, its address and kind."""

    hart: int
    watched: Optional[int]
    kind: str = CODE


class Stub:
    """A connection to the stub at a unix socket. The guest is stopped while it is connected."""

    def __init__(self, path: str, timeout: float = 60.0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.buffer = b""
        try:
            self.socket.connect(path)
        except OSError as error:
            raise GuestError(f"{path}: {error.strerror}: no gdb stub") from None
        self.ask("qSupported")

    def insert(self, kind: str, address: int, size: int = 4) -> None:
        """Adds a breakpoint or watchpoint (`CODE`, `WRITE`, `READ`) of `size` bytes."""
        self._expect_ok(f"Z{kind},{address:x},{size:x}")

    def remove(self, kind: str, address: int, size: int = 4) -> None:
        """Takes it away again."""
        self._expect_ok(f"z{kind},{address:x},{size:x}")

    def resume(self, seconds: float) -> Optional[Stop]:
        """Lets the guest run until it stops; None if it does not within `seconds` (it runs on)."""
        self.go()
        return self.wait(seconds)

    def go(self) -> None:
        """Lets the guest run."""
        self._send("c")

    def wait(self, seconds: float) -> Optional[Stop]:
        """The next stop of a running guest; None if none comes within `seconds`."""
        self.socket.settimeout(seconds)
        try:
            answer = self._receive().decode("ascii", "replace")
        except TimeoutError:
            return None
        finally:
            self.socket.settimeout(60.0)
        fields = dict(f.split(":", 1) for f in answer[3:].split(";") if ":" in f)
        hart = int(fields.get("thread", "1").rsplit(".", 1)[-1], 16) - 1
        for name, kind in (("watch", WRITE), ("rwatch", READ)):
            if name in fields:
                return Stop(hart, int(fields[name], 16), kind)
        return Stop(hart, None)

    def interrupt(self) -> Optional[Stop]:
        """Stops a running guest."""
        self.socket.sendall(b"\x03")
        return self.wait(20.0)

    def registers(self, hart: int) -> dict[str, int]:
        """The general registers of a stopped hart."""
        self.ask(f"Hg{hart + 1:x}")
        raw = bytes.fromhex(self.ask("g"))
        return {
            name: int.from_bytes(raw[i * 8 : i * 8 + 8], "little") for i, name in enumerate(ORDER)
        }

    def store(self, pa: int, data: bytes) -> None:
        """Writes at a physical address, a device's registers included."""
        self._expect_ok("Qqemu.PhyMemMode:1")
        self._expect_ok(f"M{pa:x},{len(data):x}:{data.hex()}")
        self._expect_ok("Qqemu.PhyMemMode:0")

    def step(self, hart: int) -> None:
        """One instruction of one hart."""
        self._send(f"vCont;s:{hart + 1:x}")
        self._receive()

    def close(self) -> None:
        """Lets the guest run and disconnects."""
        try:
            self.ask("D")
        except GuestError:
            pass
        self.socket.close()

    def ask(self, request: str) -> str:
        """Sends one packet and returns the answer; the news that connecting has stopped the guest,
        which comes when it likes, is none.
        """
        self._send(request)
        while (answer := self._receive().decode("ascii", "replace")).startswith("T"):
            pass
        return answer

    def _expect_ok(self, request: str) -> None:
        answer = self.ask(request)
        if answer != "OK":
            raise GuestError(f"the stub refuses {request}: {answer or 'unknown'}")

    def _send(self, request: str) -> None:
        body = request.encode()
        try:
            self.socket.sendall(b"$%s#%02x" % (body, sum(body) & 0xFF))
        except OSError as error:
            raise GuestError(f"the gdb stub has gone ({error})") from None

    def _receive(self) -> bytes:
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self.buffer) - 3:
                body, self.buffer = self.buffer[start + 1 : end], self.buffer[end + 3 :]
                return body
            more = self.socket.recv(1 << 16)
            if not more:
                raise GuestError("the gdb stub has closed the connection")
            self.buffer += more
