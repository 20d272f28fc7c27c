"""What this kernel's own books must say in a quiet guest: every count agrees with who is counted.

Relies on the names of the kernel's tables and fields (kernel/fs, kernel/ipc, kernel/proc), read
through tools/guest; frames and locks are tools/guest/audit.py's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tools.guest import Processes
from tools.guest.kernel import Kernel
from tools.guest.layout import Record, Type, split


def findings(processes: Processes) -> Iterator[str]:
    """All that does not add up, one line each."""
    kernel = processes.kernel
    yield from _queue(kernel, processes)
    yield from _log(kernel)
    files = _record(kernel, "ftable").elements("file")
    yield from _files(files, processes)
    yield from _inodes(kernel, files, processes)
    yield from _buffers(kernel)
    for slot in processes.slots:
        if slot.record.number("pins"):
            yield f"{slot.label} is pinned, but nobody works on its memory"


def _record(kernel: Kernel, name: str) -> Record:
    found = kernel.record(name)
    assert found is not None, f"this kernel has no {name}"
    return found


def _queue(kernel: Kernel, processes: Processes) -> Iterator[str]:
    """No crypto request waits, stands in line or is in service; no client believes so."""
    queue = _record(kernel, "shmem_queue")
    for name in ("count", "in_line", "line"):
        if queue.number(name):
            yield f"shmem_queue.{name} is {queue.number(name)}, not 0"
    for i, service in enumerate(queue.elements("service")):
        if service.number("request.src_pid"):
            yield f"shmem_queue.service[{i}] serves pid {service.number('request.src_pid')}"
    for p in processes.used:
        if p.record.number("crypto.open"):
            yield f"{p.label} has {p.record.number('crypto.open')} crypto requests open"


def _log(kernel: Kernel) -> Iterator[str]:
    """No operation runs, nothing waits to be committed."""
    log = _record(kernel, "log")
    for name in ("running", "reserved", "added", "busy", "failed"):
        if log.number(name):
            yield f"log.{name} is {log.number(name)}, not 0"
    if log.number("next_ticket") != log.number("serving"):
        yield f"log: ticket {log.number('serving')} of {log.number('next_ticket')} is still waited for"


def _files(files: list[Record], processes: Processes) -> Iterator[str]:
    """Each open file is referred to by as many descriptors as it says."""
    held = Counter(a for p in processes.used for a in p.record.numbers("ofile") if a)
    for i, f in enumerate(files):
        if f.number("ref") != held[f.address]:
            yield f"ftable.file[{i}].ref is {f.number('ref')}, but {held[f.address]} descriptors name it"
    strange = set(held) - {f.address for f in files}
    if strange:
        yield f"a descriptor names {min(strange):#x}, which is no open file"


def _inodes(kernel: Kernel, files: list[Record], processes: Processes) -> Iterator[str]:
    """Each inode is referred to by as many open files and working directories as it says."""
    held = Counter(p.record.number("cwd") for p in processes.used)
    held.update(f.number("ip") for f in files if f.number("ref") and f.enum("type") != "FD_PIPE")
    table = _record(kernel, "itable")
    for i, inode in enumerate(table.elements("slot")):
        if inode.number("ref") != held[inode.address]:
            where = f"itable.slot[{i}] (inode {inode.number('inum')}).ref"
            yield f"{where} is {inode.number('ref')}, but {held[inode.address]} refer to it"
    if table.number("orphans"):
        yield "itable.orphans: a file without a name waits to be freed"


def _buffers(kernel: Kernel) -> Iterator[str]:
    """Nobody uses a buffer but the log, for what it has yet to write home and for its header."""
    cache, kind = _record(kernel, "bcache"), kernel.elf.struct("buf")
    assert kind is not None
    count, start = cache.number("count"), cache.number("buf")
    header = _record(kernel, "log").number("header")
    array = Type("array", "", count * kind.size, target=kind, count=count)
    for b in split(array, start, kernel.read(start, count * kind.size)):
        expected = int(bool(b.number("in_log") or b.number("unhomed"))) + (b.address == header)
        if b.number("refs") != expected:
            yield f"the buffer of block {b.number('block')} has {b.number('refs')} users, not {expected}"
    if cache.number("waiting"):
        yield f"bcache.waiting is {cache.number('waiting')}, not 0"
