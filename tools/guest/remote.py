"""Physical memory through QEMU's gdb stub, spoken to directly (GDB manual, appendix E: remote
serial protocol).

The stub answers one packet at a time, but takes the next before the last is answered: requests for
many pages are sent together, so a page table of a hundred pages costs a few round trips. Connecting
stops the guest.
"""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from typing import Iterator, Sequence

from tools.guest.memory import PAGE, RAM_BASE, Extent, GuestError, Memory

CHUNK = 2048  # bytes of memory in one answer: QEMU's packets hold 4096 characters, two for a byte
WINDOW = 32  # requests under way at once


class RemoteMemory(Memory):
    """port: [HOST:]PORT. `packets` counts requests sent. close() lets the guest run on unless
    `stay`.
    """

    def __init__(self, port: str, timeout: float = 20.0, stay: bool = False):
        host, _, number = port.rpartition(":")
        try:
            self.socket = socket.create_connection((host or "127.0.0.1", int(number)), timeout)
        except ValueError:
            raise GuestError(f"{port}: not [HOST:]PORT") from None
        except OSError as e:
            raise GuestError(f"{port}: {e.strerror or e}: is QEMU started with -gdb?") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port, self.stay, self.packets, self.buffer = port, stay, 0, b""
        self.ask("qSupported")
        if self.ask("Qqemu.PhyMemMode:1") != b"OK":
            raise GuestError(
                f"{port}: this stub cannot read physical memory (QEMU's can, from 4.1)"
            )
        self._extents = [(RAM_BASE, RAM_BASE + self.ram_size())]

    def extents(self) -> Sequence[Extent]:
        return self._extents

    def ram_size(self) -> int:
        """Bytes of RAM, as QEMU's monitor says."""
        match = re.search(r"base memory: (\d+)", self.monitor("info memory_size_summary"))
        if not match:
            raise GuestError(f"{self.port}: QEMU does not say how much memory the guest has")
        return int(match[1])

    def monitor(self, command: str) -> str:
        """What QEMU's monitor prints for a command."""
        self._send(b"qRcmd," + command.encode().hex().encode())
        text = b""
        while (answer := self._receive()) != b"OK":
            if answer[:1] != b"O":
                break
            text += bytes.fromhex(answer[1:].decode())
        return text.decode("utf-8", "replace")

    def _fetch(self, pa: int, size: int) -> bytes:
        return b"".join(
            self._many([(at, min(CHUNK, pa + size - at)) for at in range(pa, pa + size, CHUNK)])
        )

    def read_pages(self, addresses: Sequence[int], size: int = PAGE) -> list[bytes]:
        offsets = [(at, min(CHUNK, size - at)) for at in range(0, size, CHUNK)]
        parts = self._many([(pa + at, length) for pa in addresses for at, length in offsets])
        n = len(offsets)
        return [b"".join(parts[i : i + n]) for i in range(0, len(parts), n)]

    def _many(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Memory at each (address, size), with up to WINDOW requests on the way."""
        answers: list[bytes] = []
        for i, (pa, size) in enumerate(spans):
            self._send(f"m{pa:x},{size:x}".encode())
            if i >= WINDOW:
                answers.append(self._memory(spans[len(answers)]))
        while len(answers) < len(spans):
            answers.append(self._memory(spans[len(answers)]))
        return answers

    def _memory(self, span: tuple[int, int]) -> bytes:
        answer = self._receive()
        if answer[:1] == b"E" or len(answer) != 2 * span[1]:
            raise GuestError(
                f"{self.port}: cannot read {span[0]:#x}: {answer[:8].decode('ascii', 'replace')}"
            )
        return bytes.fromhex(answer.decode())

    def ask(self, request: str) -> bytes:
        """Sends one packet and returns the answer."""
        self._send(request.encode())
        return self._receive()

    def _send(self, body: bytes) -> None:
        self.packets += 1
        try:
            self.socket.sendall(b"$%s#%02x" % (body, sum(body) & 0xFF))
        except OSError as e:
            raise GuestError(f"{self.port}: connection lost ({e})") from None

    def _receive(self) -> bytes:
        """The next answer's body. Acknowledgements are skipped, and the news that connecting
        stopped the guest, which comes when it likes. The stub needs no acknowledgement of ours: TCP
        is reliable.
        """
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self.buffer) - 3:
                body, self.buffer = self.buffer[start + 1 : end], self.buffer[end + 3 :]
                if body[:1] != b"T":
                    return body
                continue
            try:
                more = self.socket.recv(1 << 16)
            except OSError as e:
                raise GuestError(f"{self.port}: no answer from the stub ({e})") from None
            if not more:
                raise GuestError(f"{self.port}: connection closed by QEMU")
            self.buffer += more

    @contextmanager
    def session(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        try:
            self.ask("Qqemu.PhyMemMode:0")
            if not self.stay:
                self.ask("D")
        except GuestError:
            pass
        self.socket.close()
