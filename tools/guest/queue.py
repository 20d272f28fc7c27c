"""The queue of shared-memory requests: which wait, whose they are, and the crypto header each
points to.

Known by name (`shmem_queue`) and by the fields of its elements (src_pid, src_va, size), wherever
they lie in it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from tools.guest.kernel import Kernel
from tools.guest.layout import Record
from tools.guest.memory import PAGE, GuestError
from tools.guest.processes import Process, Processes
from tools.guest.sv39 import walk

TYPES = {1: "ENCRYPT", 2: "DECRYPT"}  # kernel/crypto.h; the assignment's numbers
STATES = {1: "INIT", 2: "DONE", 3: "ERROR"}


@dataclass
class CryptoHeader:
    """`struct crypto_op` as the client sees it now (kernel/crypto.h: two 32-bit enums, two 64-bit
    sizes).
    """

    type: int
    state: int
    key_size: int
    data_size: int

    def __str__(self) -> str:
        kind, state = TYPES.get(self.type, f"type {self.type}?"), STATES.get(
            self.state, f"state {self.state}?"
        )
        return f"{kind} {state} key {self.key_size} data {self.data_size}"


@dataclass
class Request:
    """One request. `header` is None, and `problem` says why, if its address cannot be read in its
    client.
    """

    slot: int
    client_pid: int
    va: int
    size: int
    client: Optional[Process]
    header: Optional[CryptoHeader]
    problem: str
    state: str  # waiting, in service, served
    record: Record


@dataclass
class Queue:
    """The queue as it stands. `capacity` counts its slots."""

    capacity: int
    requests: list[Request]
    fields: dict[str, int]  # its other integers, such as read and write index


def read_queue(processes: Processes) -> Optional[Queue]:
    """None if this kernel has no such queue."""
    kernel = processes.kernel
    record = kernel.record("shmem_queue")
    if record is None:
        return None
    array = next(
        (
            name
            for name, f in record.type.fields.items()
            if f.type.kind == "array" and f.type.target and "src_va" in f.type.target.fields
        ),
        None,
    )
    if array is None:
        return None
    slots = record.elements(array)
    fields = {n: record.number(n) for n, f in record.type.fields.items() if f.type.kind == "int"}
    waiting = _waiting(slots, fields)
    requests = []
    for i in waiting:
        requests.append(_request(processes, i, slots[i]))
    return Queue(len(slots), requests, fields)


def _waiting(slots: list[Record], fields: dict[str, int]) -> list[int]:
    """Indices of the slots in use, oldest first: by a state of their own, by read index and count,
    else by pid.
    """
    n = len(slots)
    start = next(
        (v for k, v in fields.items() if k.startswith(("read", "first", "head", "out"))), 0
    )
    order = [(start + i) % n for i in range(n)] if 0 <= start < n else list(range(n))
    if slots and slots[0].type.find("state"):
        return [i for i in order if slots[i].number("state")]
    if "count" in fields:
        return order[: max(0, min(n, fields["count"]))]
    return [i for i in order if slots[i].number("src_pid") > 0]


def _request(processes: Processes, slot: int, r: Record) -> Request:
    pid, va, size = r.number("src_pid"), r.number("src_va"), r.number("size")
    client = next((p for p in processes.used if p.pid == pid), None)
    state = r.enum("state") or "waiting"
    made = Request(slot, pid, va, size, client, None, "", state, r)
    if client is None:
        made.problem = f"its client, pid {pid}, is gone"
    elif client.state == "ZOMBIE":
        made.problem = f"its client, pid {pid}, is a zombie"
    elif client.root is None:
        made.problem = f"its client, pid {pid}, has no page table"
    else:
        try:
            made.header = crypto_header(processes.kernel, client.root, va)
        except GuestError as e:
            made.problem = str(e)
    return made


def crypto_header(kernel: Kernel, root: int, va: int) -> CryptoHeader:
    """The header at a user address; raises GuestError saying why it cannot be read."""
    return CryptoHeader(*struct.unpack("<IIQQ", read_user(kernel, root, va, 24)))


def read_user(kernel: Kernel, root: int, va: int, size: int) -> bytes:
    """Bytes of a process's memory; raises GuestError with the reason if a page is not mapped."""
    data = b""
    while len(data) < size:
        found = walk(kernel.memory, root, va)
        if found.pa is None:
            raise GuestError(f"user address {va:#x} is not mapped: {found.reason}")
        part = min(size - len(data), PAGE - (va & PAGE - 1))
        data += kernel.memory.read(found.pa, part)
        va += part
    return data
