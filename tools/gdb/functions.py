"""Convenience functions: $proc(pid), $pte(va, pid), $pa(va, pid), $frame(pa).

pid may be left out: the table of the hart one looks at is used.
"""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

import gdb

from tools.gdb.commands.pagetable import Target
from tools.gdb.skin import GdbSession, session
from tools.guest.frames import FrameTable
from tools.guest.memory import PAGE, GuestError
from tools.guest.sv39 import Walk, walk

T = TypeVar("T")


def _text(value: gdb.Value) -> str:
    """A pid or a name, as the commands take it."""
    if value.type.strip_typedefs().code in (gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_PTR):
        return str(value.string())
    return str(int(value))


def _walk(s: GdbSession, va: gdb.Value, pid: Optional[gdb.Value]) -> Walk:
    root = Target(s, _text(pid) if pid is not None else None).root
    return walk(s.kernel.memory, root, int(va) & (1 << 64) - 1)


class Proc(gdb.Function):  # type: ignore[misc]
    """$proc(PID | NAME): the struct proc of a process, as an lvalue: print $proc(3).sz"""

    def __init__(self) -> None:
        super().__init__("proc")

    def invoke(self, pid: gdb.Value) -> gdb.Value:
        s = _session()
        text = _text(pid)
        with s.kernel.session():
            address = _told(lambda: s.process(text)).address
        return _struct(s, "proc", address)


class Pte(gdb.Function):  # type: ignore[misc]
    """$pte(VA [, PID | NAME]): the last entry of the translation of VA; 0 if a level is missing."""

    def __init__(self) -> None:
        super().__init__("pte")

    def invoke(self, va: gdb.Value, pid: Optional[gdb.Value] = None) -> gdb.Value:
        s = _session()
        with s.kernel.session():
            found = _told(lambda: _walk(s, va, pid))
        entry = found.steps[-1].entry if found.steps else 0
        for name in ("pte_t", "unsigned long"):
            try:
                return gdb.Value(entry).cast(gdb.lookup_type(name))
            except gdb.error:
                continue
        return gdb.Value(entry)


class Pa(gdb.Function):  # type: ignore[misc]
    """$pa(VA [, PID | NAME]): the physical address VA is translated to; an error says why there is
    none.
    """

    def __init__(self) -> None:
        super().__init__("pa")

    def invoke(self, va: gdb.Value, pid: Optional[gdb.Value] = None) -> gdb.Value:
        s = _session()
        with s.kernel.session():
            found = _told(lambda: _walk(s, va, pid))
        if found.pa is None:
            raise gdb.GdbError(f"{int(va):#x} is not mapped: {found.reason}")
        return gdb.Value(found.pa).cast(gdb.lookup_type("unsigned long"))


class Frame(gdb.Function):  # type: ignore[misc]
    """$frame(PA): the kernel's record of a frame; without one, how many user mappings it has."""

    def __init__(self) -> None:
        super().__init__("frame")

    def invoke(self, pa: gdb.Value) -> gdb.Value:
        s = _session()
        frame = int(pa) & (1 << 64) - PAGE
        with s.kernel.session():
            found = _told(lambda: FrameTable.address_of(s.kernel, frame))
            users = _told(lambda: len(s.mappings.frames.get(frame, []))) if found is None else 0
        if found is None:
            return gdb.Value(users)
        return _struct(s, "frame", found)


def _struct(s: GdbSession, name: str, address: int) -> gdb.Value:
    """A kernel struct as an lvalue; as a copy where gdb cannot read it, such as from user mode."""
    kind = gdb.lookup_type(f"struct {name}")
    value = gdb.Value(address).cast(kind.pointer()).dereference()
    try:
        value.fetch_lazy()
        return value
    except gdb.MemoryError:
        with s.kernel.session():
            data = _told(lambda: s.kernel.read(address, kind.sizeof))
        return gdb.Value(data, kind)


def _session() -> GdbSession:
    return _told(session)


def _told(work: Callable[[], T]) -> T:
    """What is wrong, as gdb wants to hear it."""
    try:
        return work()
    except GuestError as error:
        raise gdb.GdbError(str(error)) from None


def install() -> None:
    """Registers the functions."""
    for kind in (Proc, Pte, Pa, Frame):
        kind()
