"""One look into a stopped guest: free frames, processes, user pages, locks, the queue.

Relies on tools/guest for all of it. A look keeps what it read; the guest may move on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Optional

from tools.guest import FreeList, GuestError, Kernel, Process, Processes, free_list, read_table
from tools.guest.locks import Lock, find_locks
from tools.guest.sv39 import S, U, flag_text

PAGE = 4096
MOST = 1 << 17  # pages of a process that are kept: four times what a guest has frames


@dataclass(frozen=True)
class Page:
    """A leaf of a user's table."""

    va: int
    pa: int
    flags: int  # V R W X U G A D and the two bits for software, as in the entry
    mark: int = S  # the bit of those two that means shared in this tree

    @property
    def shared(self) -> bool:
        """Does it carry the assignment's PTE_S, or what this tree has for it?"""
        return bool(self.flags & self.mark)

    @property
    def permissions(self) -> int:
        """R, W, X and U."""
        return self.flags & 0x1E

    def __str__(self) -> str:
        return f"{self.va:#x} -> frame {self.pa:#x} {flag_text(self.flags)}"


class Glance:
    """Who was there at one moment: cheap enough to be taken again and again."""

    def __init__(self, kernel: Kernel):
        self.processes = Processes(kernel)

    def process(self, pid: int) -> Optional[Process]:
        """The process with a pid; None if there is none."""
        return next((p for p in self.processes.used if p.pid == pid), None)

    def state(self, pid: int) -> Optional[str]:
        """Its state: SLEEPING, RUNNABLE, RUNNING, ZOMBIE; None if it is gone."""
        process = self.process(pid)
        return process.state if process else None

    def size(self, pid: int) -> int:
        """Its sz; -1 if it is gone."""
        process = self.process(pid)
        return process.size if process and process.size is not None else -1


class Look(Glance):
    """What there was in the guest's memory at one moment. locks: also who holds which; a kernel may
    have thousands of them, so only who asks for them pays for it. mark: the bit of a shared page.
    """

    def __init__(self, kernel: Kernel, locks: bool = False, mark: int = S):
        super().__init__(kernel)
        self.free: FreeList = free_list(kernel)
        self.pages: dict[int, dict[int, Page]] = {}  # pid -> address -> page
        for p in self.processes.used:
            if p.root is not None:
                table = read_table(kernel.memory, p.root, "user")
                self.pages[p.pid] = {
                    leaf.va: Page(leaf.va, leaf.pa, leaf.entry & 0x3FF, mark)
                    for leaf in islice(table.leaves(), MOST)
                    if leaf.entry & U
                }
        self.locks: list[Lock] = []
        if locks:
            try:
                self.locks = [k for k in find_locks(self.processes) if k.held]
            except GuestError:
                pass
        self.queue: dict[str, int] = {}
        record = kernel.record("shmem_queue")
        if record:
            for name in record.type.fields:
                value = record.get(name)
                if value is not None:
                    self.queue[name] = value

    def page(self, pid: int, va: int) -> Optional[Page]:
        """The page that holds an address; None if there is none."""
        return self.pages.get(pid, {}).get(va & ~(PAGE - 1))

    def shared(self, pid: int) -> list[Page]:
        """Its pages with PTE_S."""
        return [page for page in self.pages.get(pid, {}).values() if page.shared]

    def above_size(self, pid: int) -> list[Page]:
        """Pages that lie above sz rounded up, where exit does not look for them."""
        top = (self.size(pid) + PAGE - 1) & ~(PAGE - 1)
        return [page for page in self.pages.get(pid, {}).values() if page.va >= top]

    def free_but_mapped(self) -> list[tuple[int, Page]]:
        """Pages whose frame is on the free list, with the pid."""
        return [
            (pid, page)
            for pid, pages in self.pages.items()
            for page in pages.values()
            if page.pa in self.free
        ]
