"""Stands between gdb and QEMU's stub and counts the packets gdb sends.

As a program: proxy.py LISTEN CONNECT prints the count to standard output whenever a line comes in.
"""

from __future__ import annotations

import re
import socket
import sys
import threading

PACKET = re.compile(rb"\$([^#]*)#")


class Proxy:
    """Listens on a port of its own (`port`) and passes everything on to `target`, a local port."""

    def __init__(self, target: int, listen: int = 0):
        self.target = target
        self.packets: list[bytes] = []
        self.server = socket.create_server(("127.0.0.1", listen))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            stub = socket.create_connection(("127.0.0.1", self.target))
            for end in (client, stub):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(stub, client, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(client, stub, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, count: bool) -> None:
        pending = b""
        while True:
            try:
                data = source.recv(1 << 16)
                if not data:
                    break
                sink.sendall(data)
            except OSError:
                break
            if count:
                pending += data
                self.packets += PACKET.findall(pending)
                pending = pending[pending.rfind(b"#") + 1 :] if b"#" in pending else pending
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        """Stops listening; connections end with their ends."""
        self.server.close()


if __name__ == "__main__":
    counted = Proxy(int(sys.argv[2]), int(sys.argv[1]))
    for _ in sys.stdin:
        print(len(counted.packets), flush=True)
