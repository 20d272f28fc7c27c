"""Damages bytes from a seed: what a fuzzer without coverage does to an ELF file, a memory image, a trace, a snapshot.

Whoever reads the result has to say what is wrong in one line, and may not take for ever: judged() runs a reader.
"""

from __future__ import annotations

import random
import signal
import struct
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Optional

SECONDS = 120  # a reader that takes longer hangs, also on a loaded machine
NASTY = [0, 1, 2, 0x7F, 0xFF, 0xFFF, 0x1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
NASTY += [1 << 38, 1 << 63, (1 << 64) - 1, (1 << 64) - 0x1000, 0xFFFFFFC080000000]


class Hang(Exception):
    """A reader took too long."""


def damaged(data: bytes, rng: random.Random, places: Sequence[tuple[int, int]] = ()) -> bytes:
    """A copy with one to forty wounds, most of them inside `places`, each (offset, length); sometimes cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 40])):
        start, length = rng.choice(places) if places and rng.random() < 0.8 else (0, len(out))
        if length <= 0 or start >= len(out):
            continue
        at = start + rng.randrange(min(length, len(out) - start))
        kind = rng.randrange(5)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 4] = struct.pack("<I", rng.choice(NASTY) & 0xFFFFFFFF)
        elif kind == 2:
            at &= ~7
            out[at : at + 8] = struct.pack("<Q", rng.choice(NASTY))
        elif kind == 3:
            noise = rng.randbytes(rng.choice([2, 16, 300]))
            out[at : at + len(noise)] = noise
        else:
            other = rng.randrange(len(out))
            out[at : at + 64] = out[other : other + 64]
    if rng.random() < 0.15:
        del out[rng.randrange(len(out)) :]
    else:
        del out[len(data) :]
    return bytes(out)


def judged(read: Callable[[], object], error: type[Exception]) -> Optional[str]:
    """Runs a reader: its one line if it refuses, None if it copes. Anything but `error`, or hanging, is raised."""

    def expired(number: int, frame: Optional[FrameType]) -> None:
        raise Hang(f"more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, expired)
    signal.alarm(SECONDS)
    try:
        read()
    except error as refused:
        line = str(refused)
        assert line and "\n" not in line, repr(line)
        return line
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    return None
