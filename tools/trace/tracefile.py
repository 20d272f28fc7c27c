"""Trace files: the format of kernel/trace.h, with further chunks from the host that make a file readable
anywhere, years later: "about" (JSON), "symbols" (zlib: address, size and name of what the kernel is made of).

A file is written as it is recorded, and each chunk is whole once written, so a recording that was cut off
loses no more than its last chunk's tail.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Optional

import numpy as np

from tools.trace.table import RECORD, Table

MAGIC = 0x3143525436767858
CHUNK = struct.Struct("<8sQ")
PROCESS = np.dtype(
    [
        ("time", "<u8"),
        ("root", "<u8"),
        ("size", "<u8"),
        ("pid", "<i4"),
        ("parent", "<i4"),
        ("name", "S16"),
    ]
)
LOSS = np.dtype([("hart", "<u8"), ("lost", "<u8")])
MASK = np.dtype([("time", "<u8"), ("mask", "<u8")])
TAGS = (b"events", b"values", b"process", b"records", b"lost", b"mask", b"about", b"symbols")
FREQUENCY = 10_000_000  # of QEMU virt's time CSR, for files that do not say


class TraceError(Exception):
    """Something about a trace that the user must be told in one line."""


@dataclass
class Symbols:
    """Kernel addresses by name."""

    addresses: np.ndarray = field(default_factory=lambda: np.zeros(0, "<u8"))
    sizes: np.ndarray = field(default_factory=lambda: np.zeros(0, "<u8"))
    names: list[str] = field(default_factory=list)

    def name(self, address: int) -> str:
        """`symbol+0x1c`, or the number where no symbol is."""
        i = int(np.searchsorted(self.addresses, np.uint64(address), "right")) - 1
        if i < 0:
            return f"{address:#x}"
        offset = address - int(self.addresses[i])
        if offset >= max(int(self.sizes[i]), 1):
            return f"{address:#x}"
        return self.names[i] + (f"+{offset:#x}" if offset else "")

    def encode(self) -> bytes:
        """As stored in the file."""
        rows = zip(self.addresses.tolist(), self.sizes.tolist(), self.names)
        return zlib.compress("".join(f"{a:x} {s:x} {n}\n" for a, s, n in rows).encode())

    @staticmethod
    def decode(data: bytes) -> "Symbols":
        """From the file; raises ValueError or zlib.error if it is damaged."""
        rows = [
            line.split(" ", 2)
            for line in zlib.decompressobj().decompress(data).decode().splitlines()
        ]
        return Symbols(
            np.array([int(r[0], 16) for r in rows], "<u8"),
            np.array([int(r[1], 16) for r in rows], "<u8"),
            [r[2] for r in rows],
        )


@dataclass
class Contents:
    """What a file holds, as it lies there. `problems` says in words what could not be read."""

    table: Table
    records: np.ndarray
    processes: np.ndarray
    losses: np.ndarray
    masks: np.ndarray
    symbols: Symbols
    about: dict[str, Any]
    problems: list[str]


def _next_tag(data: memoryview, start: int) -> int:
    """Where the next chunk that looks sound begins, at a multiple of 8; the end if none does."""
    at = start
    while at + CHUNK.size <= len(data):
        tag, length = CHUNK.unpack_from(data, at)
        if tag.rstrip(b"\0") in TAGS and at + CHUNK.size + length <= len(data):
            return at
        at += 8
    return len(data)


def _chunks(data: memoryview, problems: list[str]) -> dict[bytes, list[slice]]:
    """Where the chunks' contents lie, by tag; damage is described in `problems` and stepped over."""
    found: dict[bytes, list[slice]] = {}
    at = 8
    while at < len(data):
        tag, length = CHUNK.unpack_from(data, at) if at + CHUNK.size <= len(data) else (b"", 0)
        tag = tag.rstrip(b"\0")
        start = at + CHUNK.size
        if tag in TAGS and start + length <= len(data):
            found.setdefault(tag, []).append(slice(start, start + length))
            at = start + length
            continue
        after = _next_tag(data, at + 8)
        if tag == b"records" and after == len(data):
            kept = (len(data) - start) // RECORD.itemsize
            found.setdefault(tag, []).append(slice(start, start + kept * RECORD.itemsize))
            problems.append(
                f"the file ends in the middle of a chunk: its first {kept} records were kept"
            )
        elif tag.isalpha() and tag not in TAGS and start + length <= len(data) and length % 8 == 0:
            after = start + length  # from a later version
        else:
            problems.append(f"{after - at} bytes at offset {at} are not readable and were skipped")
        at = after
    return found


def _array(parts: list[bytes], dtype: np.dtype[Any]) -> np.ndarray:
    whole = [np.frombuffer(p[: len(p) // dtype.itemsize * dtype.itemsize], dtype) for p in parts]
    return np.concatenate(whole) if whole else np.zeros(0, dtype)


def _gathered(data: np.ndarray, places: list[slice]) -> np.ndarray:
    """The records, moved together inside `data`, so that a long trace is in memory once: whatever else lay behind
    the first of `places` is overwritten.
    """
    begin = end = places[0].start if places else 0
    for place in places:
        length = (place.stop - place.start) // RECORD.itemsize * RECORD.itemsize
        if place.start != end:
            data[end : end + length] = data[place.start : place.start + length]
        end += length
    return data[begin:end].view(RECORD)


def _bytes_of(path: str | Path) -> np.ndarray:
    """The file in memory, at an address that is a multiple of 8."""
    with open(path, "rb") as file:
        data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
        got = file.readinto(data.data)
        return data[:got]


def read(path: str | Path) -> Contents:
    """Reads a trace file, and what can be saved of a damaged one. Raises TraceError if that is nothing."""
    try:
        data = _bytes_of(path)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None
    if len(data) < 8 or struct.unpack_from("<Q", data.data)[0] != MAGIC:
        raise TraceError(f"{path}: not a trace file")
    problems: list[str] = []
    places = _chunks(data.data, problems)

    def chunks(tag: bytes) -> list[bytes]:
        return [data[place].tobytes() for place in places.get(tag, [])]

    try:
        table = Table(chunks(b"events")[0], (chunks(b"values") or [b""])[0])
        if not table.events:
            raise ValueError
    except (IndexError, ValueError):
        raise TraceError(
            f"{path}: its table of events is damaged; nothing can be decoded"
        ) from None
    symbols, about = Symbols(), {}
    try:
        for part in chunks(b"symbols"):
            symbols = Symbols.decode(part)
        for part in chunks(b"about"):
            about.update(json.loads(part.rstrip(b"\0 ")))
    except (ValueError, zlib.error, IndexError):
        problems.append(
            "the kernel's symbols or the description are damaged: addresses stay numbers"
        )
    processes = _array(chunks(b"process"), PROCESS)
    losses, masks = _array(chunks(b"lost"), LOSS), _array(chunks(b"mask"), MASK)
    records = _gathered(data, places.get(b"records", []))  # last: it overwrites the rest
    return Contents(table, records, processes, losses, masks, symbols, about, problems)


class Writer:
    """Writes a trace file chunk by chunk."""

    def __init__(self, path: str | Path, table: Table):
        """Creates the file. Raises TraceError if it cannot."""
        try:
            self.file: BinaryIO = open(path, "wb")
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        self.count = 0
        self.file.write(struct.pack("<Q", MAGIC))
        self.chunk(b"events", table.raw[0])
        self.chunk(b"values", table.raw[1])

    def chunk(self, tag: bytes, data: bytes) -> None:
        """Adds a chunk, padded to a multiple of 8 bytes. Raises TraceError if there is no room for it."""
        data += bytes(-len(data) % 8)
        try:
            self.file.write(CHUNK.pack(tag, len(data)) + data)
        except OSError as error:
            raise TraceError(f"{self.file.name}: {error.strerror}") from None

    def about(self, facts: dict[str, Any], symbols: Optional[Symbols] = None) -> None:
        """Adds a description, and the kernel's symbols."""
        text = json.dumps(facts).encode()
        self.chunk(b"about", text + b" " * (-len(text) % 8))
        if symbols is not None and symbols.names:
            self.chunk(b"symbols", symbols.encode())

    def records(self, records: np.ndarray) -> None:
        """Adds records."""
        if len(records):
            self.chunk(b"records", records.tobytes())
            self.file.flush()  # what was read is kept, even if this process is killed
            self.count += len(records)

    def close(self) -> None:
        """Ends the file."""
        self.file.close()


def write(
    path: str | Path,
    table: Table,
    records: np.ndarray,
    *,
    recorded: Optional[int] = None,
    processes: Optional[np.ndarray] = None,
    about: Optional[dict[str, Any]] = None,
    symbols: Optional[Symbols] = None,
) -> int:
    """A whole trace file at once, for events that did not come out of a ring: seen at breakpoints, or made up.

    records: RECORD rows, each hart's in the order they happened; numbered here if none has a sequence number.
    recorded: mask of the events that were watched for (none given: those that occur), which says what rules can
    decide. processes: PROCESS rows of those there at the start. about: what is known of the run, such as
    "commands", "kernel", "frequency" (ticks in a second). Returns how many records. Raises TraceError.
    """
    if len(records) and not records["sequence"].any():
        records = records.copy()
        for hart in np.unique(records["hart"]):
            mine = np.flatnonzero(records["hart"] == hart)
            records["sequence"][mine] = np.arange(1, len(mine) + 1)
    if recorded is None:
        recorded = sum(1 << event for event in np.unique(records["event"]).tolist() if event < 63)
    start = int(records["time"].min()) if len(records) else 0
    writer = Writer(path, table)
    try:
        writer.about({"frequency": FREQUENCY} | (about or {}), symbols)
        writer.chunk(b"mask", np.array([(start, recorded)], MASK).tobytes())
        if processes is not None:
            writer.chunk(b"process", processes.tobytes())
        writer.records(records)
    finally:
        writer.close()
    return writer.count
