"""The probes: each makes calls in fresh guests, looks at the memory, and says what that shows.

`ALL` lists them in the order they run: causes before what they may be mistaken for.
"""

from __future__ import annotations

from tools.submit.probes import (
    lifetime,
    locks,
    mapping,
    programs,
    queue,
    server,
    static,
    unmapping,
    watched,
)
from tools.submit.probes.base import Bench, Probe

ALL: list[Probe] = [
    *mapping.PROBES,
    *unmapping.PROBES,
    *lifetime.PROBES,
    *locks.PROBES,
    *server.PROBES,
    *queue.PROBES,
    *watched.PROBES,
    *static.PROBES,
    *programs.PROBES,
]

__all__ = ["ALL", "Bench", "Probe"]
