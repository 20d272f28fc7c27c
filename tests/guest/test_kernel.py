"""Processes, frames, locks, queue and rings as they lie in memory, in a kernel that counts and in one that does not."""

from __future__ import annotations

import struct

import pytest

from tests.guest.image import RAM, Image
from tools.guest.events import EventTable
from tools.guest.frames import FrameTable, free_list
from tools.guest.locks import cycles, find_locks
from tools.guest.memory import PAGE, RAM_BASE, GuestError
from tools.guest.pipes import Pipes
from tools.guest.processes import Hart, Process, Processes
from tools.guest.queue import read_queue
from tools.guest.ring import MAGIC, RECORD, Ring, rings
from tools.guest.sv39 import R, V, W


def test_processes(image: Image) -> None:
    root = image.process(0, 1, "init", pages=3)
    image.process(2, 7, "a\x1b[31m", state=4)
    image.set("proc[2].parent", image.at("proc[0]"))
    image.set("cpus[1].proc", image.at("proc[2]"))
    processes = Processes(image.kernel)
    first, second = processes.used
    assert (first.pid, first.name, first.state, first.size) == (1, "init", "SLEEPING", 0x3000)
    assert (first.root, first.hart, first.parent) == (root, None, None)
    assert (second.pid, second.state, second.hart, second.parent) == (7, "RUNNING", 1, first)
    assert second.name == "a\\x1b[31m"  # a name is no way to a terminal's escapes
    assert (first.killed, first.xstate) == (None, None)  # this kernel has no such fields
    assert processes.named("init") is first and processes.named("7") is second
    with pytest.raises(GuestError, match="bash: no such process .there are: 1 init, 7"):
        processes.named("bash")


def test_names_that_are_not_unique(image: Image) -> None:
    image.process(0, 3, "sh")
    image.process(1, 4, "sh")
    with pytest.raises(GuestError, match="several processes have that name: pid 3, 4"):
        Processes(image.kernel).named("sh")


def test_wild_page_table(image: Image) -> None:
    """A pagetable pointer to nowhere is kept as it is, for the walker to label."""
    image.process(0, 1)
    image.set("proc[0].pagetable", 0xDEAD_BEEF_000)
    (process,) = Processes(image.kernel).used
    assert process.root == 0xDEAD_BEEF_000


@pytest.mark.parametrize("kind", ["image", "counted"])
def test_free_list(kind: str, request: pytest.FixtureRequest) -> None:
    """Both kinds of list: in order, a loop, a pointer to nowhere."""
    image: Image = request.getfixturevalue(kind)
    frames = [image.frame() for _ in range(5)]
    image.free(*frames)
    found = free_list(image.kernel)
    assert (found.frames, found.problem) == (frames, "")
    assert frames[2] in found and RAM_BASE not in found
    image.link(frames[4], frames[1])
    looped = free_list(image.kernel)
    assert looped.frames == frames and "twice" in looped.problem
    image.link(frames[4], RAM_BASE + RAM)
    wild = free_list(image.kernel)
    assert wild.frames == frames and "the free list leads to" in wild.problem


def test_free_list_not_set_up(counted: Image) -> None:
    with pytest.raises(GuestError, match="has not set up its free frames yet"):
        free_list(counted.kernel)


def test_counts(image: Image, counted: Image) -> None:
    counted.free(counted.frame())
    counted.count(RAM_BASE + 5 * PAGE, 3, 2)
    table = FrameTable.of(counted.kernel)
    assert table and table.count_of(RAM_BASE + 5 * PAGE) == 3
    assert table.shares_of(RAM_BASE + 5 * PAGE) == 2
    assert table.count_of(0x1000_0000) is None
    assert FrameTable.of(image.kernel) is None


def test_locks_and_their_holders(counted: Image) -> None:
    image = counted
    image.process(0, 4, "sh", state=4)
    image.process(1, 5, "cat")
    image.set("cpus[0].proc", image.at("proc[0]"))
    image.set("kmem.lock.locked", 1)
    image.set("kmem.lock.cpu", image.at("cpus[0]"))
    image.set("kmem.lock.pc", image.elf.symbols["sched"].address + 6)
    image.set("kmem.lock.name", image.frame() + image.direct)
    image.write(image.next - PAGE, b"kmem\0")
    image.set("cpus[1].waiting", image.at("kmem.lock"))
    image.set("bcache.buf[2].lock.locked", 1)
    image.set("bcache.buf[2].lock.pid", 4)
    image.set("proc[1].chan", image.at("bcache.buf[2].lock"))
    held = {lock.expression: lock for lock in find_locks(Processes(image.kernel)) if lock.held}
    assert set(held) == {"kmem.lock", "bcache.buf[2].lock"}
    kmem, buffer = held["kmem.lock"], held["bcache.buf[2].lock"]
    assert isinstance(kmem.holder, Hart) and kmem.holder.number == 0 and kmem.name == "kmem"
    assert kmem.place and kmem.place.startswith("sched (")
    assert [w.number for w in kmem.waiters if isinstance(w, Hart)] == [1]
    assert isinstance(buffer.holder, Process) and buffer.holder.pid == 4
    assert [w.pid for w in buffer.waiters if isinstance(w, Process)] == [5]
    assert cycles(list(held.values())) == []


def test_deadlock_of_harts_by_registers(image: Image) -> None:
    """xv6 does not note who spins: the lock is in the register acquire() keeps it in."""
    (low, _, register), *_ = image.elf.lock_register
    for hart, lock in ((0, "proc[0].lock"), (1, "proc[1].lock")):
        image.set(f"{lock}.locked", 1)
        image.set(f"{lock}.cpu", image.at(f"cpus[{hart}]"))
    registers = {
        0: {"pc": low, register: image.at("proc[1].lock")},
        1: {"pc": low, register: image.at("proc[0].lock")},
    }
    locks = find_locks(Processes(image.kernel), registers)
    (cycle,) = cycles(locks)
    assert {(who.number, lock.expression) for who, lock in cycle if isinstance(who, Hart)} == {
        (0, "proc[1].lock"),
        (1, "proc[0].lock"),
    }
    assert cycles(find_locks(Processes(image.kernel))) == []


def test_deadlock_of_processes(image: Image) -> None:
    """Two processes asleep, each on a sleep lock the other holds; a third only waits."""
    for slot, holds, waits in ((0, 0, 1), (1, 1, 0), (2, None, 0)):
        image.process(slot, slot + 1)
        image.set(f"proc[{slot}].chan", image.at(f"bcache.buf[{waits}].lock"))
        if holds is not None:
            image.set(f"bcache.buf[{holds}].lock.locked", 1)
            image.set(f"bcache.buf[{holds}].lock.pid", slot + 1)
    (cycle,) = cycles(find_locks(Processes(image.kernel)))
    assert sorted(who.pid for who, _ in cycle if isinstance(who, Process)) == [1, 2]


def test_pipe(image: Image) -> None:
    image.process(0, 1, "cat")
    image.process(1, 2, "wc")
    pipe = image.frame()
    for slot, end in ((0, "writable"), (1, "readable")):
        image.set(f"ftable.file[{slot}].type", 1)
        image.set(f"ftable.file[{slot}].ref", 1)
        image.set(f"ftable.file[{slot}].pipe", pipe)
        image.set(f"ftable.file[{slot}].{end}", 1)
        image.set(f"proc[{slot}].ofile[0]", image.at(f"ftable.file[{slot}]"))
    pipes = Pipes(Processes(image.kernel))
    found = pipes.holding(pipe + 28)
    assert found and found.address == pipe and pipes.holding(pipe + 32) is None
    assert ([p.name for p in found.readers], [p.name for p in found.writers]) == (["wc"], ["cat"])


def test_queue(image: Image) -> None:
    """Waiting requests with the header they point to; a client that has gone; an address that is not mapped."""
    root = image.process(0, 5, "crypto_cli", pages=1)
    frame = image.frame()
    image.map(root, 0x4000, frame, V | R | W | 16)
    image.write(frame + 0x10, struct.pack("<IIQQ", 2, 1, 6, 53))
    for slot, pid, va in ((0, 5, 0x4010), (1, 9, 0x1000), (2, 5, 0x9000), (3, -1, 0)):
        image.set(f"shmem_queue.requests[{slot}].src_pid", pid)
        image.set(f"shmem_queue.requests[{slot}].src_va", va)
        image.set(f"shmem_queue.requests[{slot}].size", 83)
    queue = read_queue(Processes(image.kernel))
    assert queue and queue.capacity == 4
    first, second, third = queue.requests
    assert str(first.header) == "DECRYPT INIT key 6 data 53" and not first.problem
    assert second.client is None and second.problem == "its client, pid 9, is gone"
    assert third.problem.startswith("user address 0x9000 is not mapped: level 0 entry")


def ring_image(image: Image, head: int, capacity: int = 8) -> Ring:
    """A ring that has taken `head` records; record n has time 100+n and lies in its slot."""
    pa = image.frame()
    header = struct.pack("<QIIIIQQ", MAGIC, 1, 64, capacity, 1, 10_000_000, 128)
    image.write(pa, header.ljust(64, b"\0") + struct.pack("<Q", head))
    for n in range(max(0, head - capacity), head):
        record = RECORD.pack(100 + n, n + 1, n % 2, 1, 4, 2, n, 0, 0, 0)
        image.write(pa + 128 + n % capacity * 64, record)
    image.set("trace_rings[1]", pa + image.direct)
    (ring,) = rings(image.kernel)
    return ring


@pytest.mark.parametrize(
    "head, position, first, lost", [(5, 0, 0, 0), (20, 0, 12, 12), (20, 15, 15, 0)]
)
def test_ring(counted: Image, head: int, position: int, first: int, lost: int) -> None:
    ring = ring_image(counted, head)
    copy = ring.copy(position)
    assert [e.sequence for e in copy.events()] == list(range(first + 1, head + 1))
    assert (copy.end, copy.lost) == (head, lost)
    assert ring.copy(copy.end).data == b"" and ring.copy(copy.end).end == head


def test_ring_with_an_unfinished_record(counted: Image) -> None:
    """A running guest will finish it: stop before it. A dead one never will: leave it out."""
    ring = ring_image(counted, 6)
    counted.word(ring.records + 3 * 64 + 8, 0)
    assert [e.sequence for e in ring.copy(0, stopped=False).events()] == [1, 2, 3]
    assert ring.copy(0, stopped=False).end == 3
    dead = ring.copy(0, stopped=True)
    assert [e.sequence for e in dead.events()] == [1, 2, 3, 5, 6]
    assert (dead.end, dead.lost) == (6, 1)


def test_ring_overtaken_while_it_is_copied(counted: Image) -> None:
    """What the writer has reached again since is dropped and counted, however whole it looks."""
    ring = ring_image(counted, 20)
    heads = iter((20, 23))
    setattr(ring, "head", lambda: next(heads))
    copy = ring.copy(12, stopped=False)
    assert [e.sequence for e in copy.events()] == [16, 17, 18, 19, 20]
    assert (copy.end, copy.lost) == (20, 3)


def test_no_ring(image: Image, counted: Image) -> None:
    assert rings(image.kernel) == [] and rings(counted.kernel) == []
    counted.set("trace_rings[0]", counted.frame() + counted.direct)
    with pytest.raises(GuestError, match="its magic number is 0x0"):
        rings(counted.kernel)


def test_events_are_named_by_the_kernels_table(counted: Image) -> None:
    ring = ring_image(counted, 2)
    table = EventTable.of(counted.elf)
    first, second = ring.copy().events()
    assert table.events[0].name == "map" and table.events[0].category == "shm"
    assert table.arguments(first) == {"src": "2", "to": "0x0"}
    assert table.arguments(second) == {"state": "DONE", "who": "0x1"}
    symbol = second._replace(args=(1, counted.at("ticks"), 0, 0, 0))
    assert table.arguments(symbol, counted.kernel)["who"] == "ticks"
    words = struct.unpack("<5Q", b"hello".ljust(40, b"\0"))
    assert table.arguments(first._replace(event=2, args=words)) == {"text": "hello"}
    assert table.arguments(first._replace(event=99)) == {
        f"a{i}": hex(a) for i, a in enumerate(first.args)
    }
