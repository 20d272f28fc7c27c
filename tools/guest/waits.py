"""What a sleeping process waits for, in words: the channel by symbol, and behind a process, lock or
pipe who could wake it.
"""

from __future__ import annotations

from functools import cached_property

from tools.guest.layout import Record, Type
from tools.guest.locks import lock_places
from tools.guest.pipes import Pipes
from tools.guest.processes import Process, Processes


class Waits:
    """Answers for all processes of one moment; what several answers need is read once."""

    def __init__(self, processes: Processes):
        self.processes, self.kernel = processes, processes.kernel

    @cached_property
    def _pipes(self) -> Pipes:
        return Pipes(self.processes)

    @cached_property
    def _sleeplocks(self) -> dict[int, Type]:
        return {a: t for _, a, t in lock_places(self.kernel.elf) if t.name == "sleeplock"}

    def of(self, p: Process) -> str:
        """What `p`, which sleeps, waits for; `?` if it has no channel."""
        chan = p.chan
        if not chan:
            return "?"
        symbol = self.kernel.name_of(chan)
        other = self.processes.by_address.get(chan)
        if other is not None:
            return f"{symbol}: its children" if other is p else f"{symbol}: {other.label}"
        if symbol is None:
            pipe = self._pipes.holding(chan)
            if pipe is None:
                return f"{chan:#x}"
            readers = _labels(pipe.readers, "read by")
            return f"pipe {pipe.address:#x}, {readers}, {_labels(pipe.writers, 'written by')}"
        if chan in self._sleeplocks:
            lock = self.kernel.at(self._sleeplocks[chan], chan)
            holder = next((h for h in self.processes.used if h.pid == lock.number("pid")), None)
            held = holder.label if holder else "nobody now"
            return f"sleeplock {symbol}{self._name(lock)}, held by {held}"
        return symbol

    def _name(self, lock: Record) -> str:
        pointer = lock.get("name")
        return f' "{self.kernel.text(pointer)}"' if pointer else ""


def _labels(processes: list[Process], verb: str) -> str:
    """Few by pid and name, many by their number."""
    if len(processes) > FEW:
        return f"{verb} {len(processes)} processes"
    return f"{verb} " + (", ".join(p.label for p in processes) or "nobody")


FEW = 4  # more have no room in a line
