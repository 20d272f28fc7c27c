"""What an unknown kernel's functions mean as trace events: one small function for each.

Relies on xv6's names and on the RISC-V calling convention (arguments and result in a0...); a function
that a tree does not have, or that was inlined, gives no events. Each returns (event, arguments) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Iterable, Optional

from tools.guest import GuestError, Kernel, free_list, walk
from tools.guest.layout import Record, Type
from tools.guest.sv39 import U, V
from tools.submit.systemcalls import Numbers

PAGE = 4096
FAILED = (0, (1 << 64) - 1, 0xFFFF_FFFF)
MOST = 4096  # pages of one call that are looked at
TOP = (
    1 << 38
) - 2 * PAGE  # trapframe and trampoline: the kernel's, which it frees in an order of its own
Events = Iterable[tuple[str, tuple[int | bytes, ...]]]


@dataclass
class Moment:
    """The guest stopped at a hook: `args` are a0... when the function was entered, `result` is a0 at its
    end. caller: where it returns to; entry: its address. before: what the hook kept at the entry.
    """

    state: "State"
    process: Optional[Record]  # struct proc that runs here
    args: list[int]
    caller: int
    entry: int = 0
    result: int = 0
    before: dict[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Of the process that runs; 0 for the scheduler."""
        return self.process.number("pid") if self.process else 0


class State:
    """What hooks know of the kernel from event to event."""

    def __init__(self, kernel: Kernel, numbers: Numbers, free: int):
        self.kernel, self.numbers, self.free = kernel, numbers, free
        self.proc: Optional[Type] = kernel.elf.struct("proc")
        self.waiting: list[tuple[int, int, int, int]] = []  # request, client, va, size
        self.requests = 0

    def process(self, address: int) -> Optional[Record]:
        """The struct proc at a kernel address; None if there is none."""
        try:
            return self.kernel.at(self.proc, address) if self.proc and address else None
        except GuestError:
            return None

    def root(self, process: Optional[Record]) -> int:
        """Physical address of its table; 0 if it has none."""
        return (self.kernel.root_of(process.number("pagetable")) or 0) if process else 0

    def by_pid(self, pid: int) -> Optional[Record]:
        """The slot with a pid."""
        return next((r for r in self.kernel.records("proc") if r.number("pid") == pid), None)


def signed(value: int) -> int:
    """A C int as the calling convention passes it."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def alloc(m: Moment) -> Events:
    """void *kalloc(void)"""
    if m.result:
        m.state.free -= 1
        yield "alloc", (m.result, max(0, m.state.free), m.caller)


def free(m: Moment) -> Events:
    """void kfree(void *), at its entry"""
    m.state.free += 1
    yield "free", (m.args[0], max(0, m.state.free))


def pte_set(m: Moment) -> Events:
    """int mappages(pagetable_t, uint64 va, uint64 size, uint64 pa, int perm)"""
    root, va, size, pa, perm = m.args[:5]
    if signed(m.result) == 0 and size and perm & U:
        start = va & -PAGE
        for i in range(min(MOST, (va + size - 1 - start) // PAGE + 1)):
            where = m.state.kernel.root_of(root) or 0
            yield "pte_set", (where, start + i * PAGE, pa + i * PAGE, perm & 0x3FF | V)


def pte_clear(m: Moment) -> Events:
    """void uvmunmap(pagetable_t, uint64 va, uint64 npages, int do_free), at its entry: up to the first
    page that is not there, where it panics in most trees
    """
    root, va, pages = m.args[:3]
    where = m.state.kernel.root_of(root)
    for at in range(va, min(TOP, va + min(MOST, pages) * PAGE), PAGE):
        pa = walk(m.state.kernel.memory, where, at).pa if where else None
        if pa is None:
            return
        yield "pte_clear", (where or 0, at, pa)


def before_map(m: Moment) -> dict[str, int]:
    """The destination's size."""
    dst = m.state.process(m.args[1])
    return {"size": dst.number("sz") if dst else 0}


def mapped(m: Moment) -> Events:
    """uint64 map_shared_pages(struct proc *src, struct proc *dst, uint64 src_va, uint64 size)"""
    src, dst = m.state.process(m.args[0]), m.state.process(m.args[1])
    if not src or not dst:
        return
    pid, size = dst.number("pid"), dst.number("sz")
    if size != m.before["size"]:
        yield "resize", (pid, m.before["size"], size)
    if m.result not in FAILED:
        yield "map", (src.number("pid"), pid, m.args[2], m.result, m.args[3])


def before_unmap(m: Moment) -> dict[str, int]:
    """The process's size."""
    target = m.state.process(m.args[0])
    return {"size": target.number("sz") if target else 0}


def unmapped(m: Moment) -> Events:
    """uint64 unmap_shared_pages(struct proc *, uint64 va, uint64 size)"""
    target = m.state.process(m.args[0])
    if not target:
        return
    pid, size = target.number("pid"), target.number("sz")
    if size != m.before["size"]:
        yield "resize", (pid, m.before["size"], size)
    if signed(m.result) == 0:
        yield "unmap", (pid, m.args[1], m.args[2])


def before_growth(m: Moment) -> dict[str, int]:
    """The caller's size."""
    return {"size": m.process.number("sz") if m.process else 0}


def grown(m: Moment) -> Events:
    """int growproc(int)"""
    size = m.process.number("sz") if m.process else 0
    if m.process and size != m.before["size"]:
        yield "resize", (m.pid, m.before["size"], size)


def forked(m: Moment) -> Events:
    """int fork(void)"""
    child = m.state.by_pid(signed(m.result)) if signed(m.result) > 0 else None
    if child:
        yield "fork", (signed(m.result), m.state.root(child))


def executed(m: Moment) -> Events:
    """int exec(char *path, char **argv)"""
    if signed(m.result) >= 0 and m.process:
        name = (m.process.text("name") or "?").encode()[:15]
        yield "exec", (m.state.root(m.process), name)


def exited(m: Moment) -> Events:
    """void exit(int), at its entry"""
    yield "exit", (signed(m.args[0]) & (1 << 64) - 1,)


def waited(m: Moment) -> Events:
    """int wait(uint64 address)"""
    if signed(m.result) > 0:
        yield "wait", (signed(m.result), 0)


def slept(m: Moment) -> Events:
    """void sleep(void *chan, struct spinlock *), at its entry"""
    yield "sleep", (m.args[0],)


def woken(m: Moment) -> Events:
    """void wakeup(void *chan), at its entry: one event for each that sleeps there"""
    for r in m.state.kernel.records("proc"):
        if r.number("chan") == m.args[0] and r.enum("state") == "SLEEPING":
            yield "wakeup", (r.number("pid"), m.args[0], 0)


def acquired(m: Moment) -> Events:
    """void acquire(struct spinlock *), at its end"""
    yield "acquire", (m.args[0], m.caller)


def released(m: Moment) -> Events:
    """void release(struct spinlock *), at its entry"""
    yield "release", (m.args[0], m.caller)


def enqueued(m: Moment) -> Events:
    """void shmem_queue_insert(int src_pid, int dst_pid, uint64 src_va, uint64 size), at its end"""
    state = m.state
    state.requests += 1
    client, va, size = signed(m.args[0]), m.args[2], m.args[3]
    state.waiting.append((state.requests, client, va, size))
    yield "enqueue", (state.requests, va, size, len(state.waiting))


def dequeued(m: Moment) -> Events:
    """struct shmem_request shmem_queue_remove(void), whose result lies where a0 points"""
    kind = m.state.kernel.elf.struct("shmem_request")
    if kind is None or not m.args[0]:
        return
    r = m.state.kernel.at(kind, m.args[0])
    key = (r.number("src_pid"), r.number("src_va"), r.number("size"))
    number = next((w[0] for w in m.state.waiting if w[1:] == key), 0)
    m.state.waiting = [w for w in m.state.waiting if w[0] != number]
    yield "dequeue", (number, *key, len(m.state.waiting))


def arguments_of(m: Moment, number: int) -> Events:
    """sys_enter, with a0... as the program passed them."""
    frame = m.process.type.find("trapframe") if m.process else None
    if m.process is None or frame is None or frame.type.target is None:
        return
    saved = m.state.kernel.at(frame.type.target, m.process.number("trapframe"))
    yield "sys_enter", (number, *(saved.number(f"a{i}") for i in range(4)))


Keep = Callable[[Moment], dict[str, int]]
Tell = Callable[[Moment], Events]


@dataclass(frozen=True)
class Hook:
    """At the entry of a function `enter` tells events and `keep` remembers; at its end `leave` tells."""

    events: tuple[str, ...]
    enter: Optional[Tell] = None
    leave: Optional[Tell] = None
    keep: Optional[Keep] = None


HOOKS: dict[str, Hook] = {
    "kalloc": Hook(("alloc",), leave=alloc),
    "kfree": Hook(("free",), enter=free),
    "mappages": Hook(("pte_set",), leave=pte_set),
    "uvmunmap": Hook(("pte_clear",), enter=pte_clear),
    "map_shared_pages": Hook(("map", "resize"), leave=mapped, keep=before_map),
    "unmap_shared_pages": Hook(("unmap", "resize"), leave=unmapped, keep=before_unmap),
    "growproc": Hook(("resize",), leave=grown, keep=before_growth),
    "fork": Hook(("fork",), leave=forked),
    "kfork": Hook(("fork",), leave=forked),
    "exec": Hook(("exec",), leave=executed),
    "kexec": Hook(("exec",), leave=executed),
    "exit": Hook(("exit",), enter=exited),
    "kexit": Hook(("exit",), enter=exited),
    "wait": Hook(("wait",), leave=waited),
    "kwait": Hook(("wait",), leave=waited),
    "sleep": Hook(("sleep",), enter=slept),
    "wakeup": Hook(("wakeup",), enter=woken),
    "shmem_queue_insert": Hook(("enqueue",), leave=enqueued),
    "shmem_queue_remove": Hook(("dequeue",), leave=dequeued),
}
LOCKS: dict[str, Hook] = {  # inside the assignment's calls only: everybody takes locks all the time
    "acquire": Hook(("acquire",), leave=acquired),
    "release": Hook(("release",), enter=released),
}
CALLS = (
    "map_shared_pages",
    "unmap_shared_pages",
    "crypto_op",
    "take_shared_memory_request",
    "remove_shared_memory_request",
)
LOCKED = ("map_shared_pages", "unmap_shared_pages")  # never sleep, so locks are watched in them


def hooks(numbers: Numbers) -> dict[str, Hook]:
    """All of them by function, with those of the assignment's system calls."""
    found = dict(HOOKS)
    for name in CALLS:
        if name in numbers:
            found[numbers.function(name)] = _call(numbers[name])
    return found


def _call(number: int) -> Hook:
    def enter(m: Moment) -> Events:
        return arguments_of(m, number)

    def leave(m: Moment) -> Events:
        yield "sys_exit", (number, m.result)

    return Hook(("sys_enter", "sys_exit"), enter=enter, leave=leave)


def present(kernel: Kernel) -> int:
    """How many frames are free; 0 if that list cannot be read."""
    try:
        return len(free_list(kernel).frames)
    except GuestError:
        return 0
