"""How this tree differs from others: argument orders, failure values, what is there at all.

Orders are found by trial in fresh guests and judged by the page tables, never by a name: a mapping
worked if one process has a new page with the other's frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tools.guest.elf import Elf
from tools.guest.stack import trapframe
from tools.guest.sv39 import S
from tools.submit.code import Code, fetched, functions_of, reaches
from tools.submit.lab import Lab
from tools.submit.look import Look
from tools.submit.orders import MAPS, UNMAPS, Order, caller, odd, possible, swapped
from tools.submit.session import Actor, Answer, Session, Unanswered

PAGE = 4096
POINTER = 15 * PAGE  # of the arena
MARK = 0x51  # what lies there before a call
SOFTWARE = 0x300  # bits 8 and 9 of an entry
NOWHERE = 0x4000_0000  # a user address with nothing near it


@dataclass
class Shape:
    """What was learned. An order of None: the call is not there or never worked."""

    map_order: Optional[Order] = None
    unmap_order: Optional[Order] = None
    failure: Optional[int] = None  # what map returns when it refuses
    has_queue: bool = False
    has_server: bool = False  # a program crypto_srv that takes requests
    server_idle: int = 0  # kernel address the idle server sleeps on
    server_polls: bool = False  # it sleeps for a time between two looks for a request
    server_state: str = "none"
    mark: int = S  # the bit of a shared page
    window: int = 0  # where mappings begin, if that is away from the destination's sz
    generation: str = "2024"
    stored: bool = False  # map stores the address where the pointer points, and returns 0
    trouble: str = ""  # how the first try of a mapping ended, if not with an answer
    unclear: tuple[str, ...] = ()  # calls that are there, with arguments that were not understood

    def as_dict(self, lab: Lab) -> dict[str, Any]:
        """For --show-shape and JSON."""
        known = ("map_shared_pages", "unmap_shared_pages", "find_proc", "crypto_srv_proc", "PTE_S")
        return {
            "toolchain": lab.build.prefix,
            "generation": self.generation,
            "map_shared_pages": self.map_order,
            "unmap_shared_pages": self.unmap_order,
            "address stored through a pointer": self.stored,
            "not understood": self.unclear,
            "called otherwise": lab.numbers.names,
            "mappings begin at": hex(self.window) if self.window else "sz",
            "failure value": self.failure,
            "bit of a shared page": self.mark.bit_length() - 1,
            "system calls": {
                n: v for n, v in lab.numbers.items() if "shared" in n or n == "crypto_op"
            },
            "functions": {n: place_of(lab.elf, n) for n in known if place_of(lab.elf, n)},
            "queue": self.has_queue,
            "server": self.server_state,
        }


def place_of(elf: Elf, function: str) -> Optional[str]:
    """`file:line` of a function; None if the program has none of that name."""
    symbol = elf.symbols.get(function)
    line = elf.line(symbol.address) if symbol and symbol.function else None
    return f"{line[0]}:{line[1]}" if line else None


class Calls:
    """map and unmap in a guest, in this tree's order of arguments."""

    def __init__(self, session: Session, shape: Shape):
        self.session, self.shape = session, shape
        self.pointer = session.arena + POINTER  # where a size may be stored

    def map(self, src: Actor | int, dst: Actor | int, va: int, size: int, by: Actor) -> Answer:
        """Shares [va, va+size) of src with dst; pids may be given as numbers."""
        arguments = self.map_arguments(self.shape.map_order or MAPS[0], src, dst, va, size)
        if not self.shape.stored:
            return by.call("map_shared_pages", *arguments)
        by.write(self.pointer, bytes(8))
        answer = by.call("map_shared_pages", *arguments)
        if answer.value in (-1, 0xFFFF_FFFF):
            return answer
        return Answer(int.from_bytes(by.read(self.pointer, 8), "little", signed=True), b"")

    def map_arguments(
        self, order: Order, src: Actor | int, dst: Actor | int, va: int, size: int
    ) -> list[int]:
        """The arguments in a given order."""
        values = {
            "src": src.pid if isinstance(src, Actor) else src,
            "dst": dst.pid if isinstance(dst, Actor) else dst,
            "va": va,
            "size": size,
            "pointer": self.pointer,
        }
        return [values[name] for name in order]

    def share(self, src: Actor, dst: Actor, va: int, size: int) -> Answer:
        """map() by whoever this tree lets call it: the destination if it can."""
        by = {"src": src, "dst": dst}[caller(self.shape.map_order or MAPS[0])]
        return self.map(src, dst, va, size, by)

    def unmap(self, actor: Actor, va: int, size: int, pid: Optional[int] = None) -> Answer:
        """Takes [va, va+size) away from `actor`, or from `pid` where the order has a pid."""
        order = self.shape.unmap_order or UNMAPS[0]
        values = {
            "pid": actor.pid if pid is None else pid,
            "va": va,
            "size": size,
            "pointer": self.pointer,
        }
        return actor.call("unmap_shared_pages", *(values[name] for name in order))


def learn(lab: Lab) -> Shape:
    """Tries until a mapping and an unmapping work."""
    shape = Shape()
    lab.check_clock()
    shape.has_queue = "crypto_op" in lab.numbers and lab.elf.variable("shmem_queue") is not None
    shape.generation = "2024" if "crypto_op" in lab.numbers else "2025 (no server)"
    code = functions_of(lab.build.prefix, Path(lab.elf.path))
    if "map_shared_pages" in lab.numbers:
        shape.map_order = _map_order(lab, shape, code)
    if shape.map_order:
        _learn_mapping(lab, shape)
    if shape.map_order and "unmap_shared_pages" in lab.numbers:
        shape.unmap_order = _unmap_order(lab, shape, code)
    if shape.map_order:
        shape.failure = _failure(lab, shape)
    _learn_server(lab, shape)
    return shape


def _failure(lab: Lab, shape: Shape) -> Optional[int]:
    """What a mapping of nothing returns; None if it does not come back."""
    with lab.guest() as g:
        child = g.fork(1)
        try:
            value = Calls(g, shape).share(g.main, child, NOWHERE, PAGE).value
        except Unanswered:
            return None
        return -1 if value == 0xFFFF_FFFF else value


def _stored(g: Session, look: Look, actor: Actor) -> Optional[int]:
    """What the kernel has written where the pointer among the arguments points; None if nothing."""
    page = look.page(actor.pid, g.arena + POINTER)
    mark = bytes((MARK + i) % 256 for i in range(8))
    there = g.machine.memory.read(page.pa + POINTER % PAGE, 8) if page else mark
    return None if there == mark else int.from_bytes(there, "little")


def _learn_mapping(lab: Lab, shape: Shape) -> None:
    """The bit of the two for software that a mapping sets in its new entry, PTE_S's if not just one; and where a
    mapping lies.
    """
    with lab.guest() as g:
        child = g.fork(1)
        before = g.quiet()
        try:
            Calls(g, shape).share(g.main, child, g.arena + PAGE, 64)
        except Unanswered:
            pass
        after = g.look()
        source = after.page(g.main.pid, g.arena + PAGE)
        new = [p for va, p in after.pages[child.pid].items() if va not in before.pages[child.pid]]
        set_now = {p.flags & ~source.flags & SOFTWARE for p in new} if source else set()
        lab.mark = shape.mark = set_now.pop() if set_now in ({S}, {SOFTWARE - S}) else S
        first = min((p.va for p in new), default=0)
        shape.window = first if first > before.size(child.pid) + 2 * PAGE else 0


@dataclass
class Trial:
    """A page of one process came to lie in another. score: the higher the surer is the order."""

    score: tuple[int, ...]
    swapped: bool  # it went from the one called dst to the one called src
    stored: bool  # its address lies where the pointer points

    @property
    def sure(self) -> bool:
        """Was it that page alone, and the first of its kind, at the address told?"""
        return all(self.score[:-1]) and self.score[-1] == -1


def _understood(code: dict[str, Code], call: str, orders: tuple[Order, ...]) -> bool:
    """Does a call fetch as many arguments as the orders tried have? One that takes a struct does not."""
    return len(fetched(code, call)) in {len(o) for o in orders}


def _map_order(lab: Lab, shape: Shape, code: dict[str, Code]) -> Optional[Order]:
    """The order in which a page of one process comes to lie in another, the better the surer: only
    that page, at the address returned. An order that is not this tree's may share something too (a pid
    taken for an address, an address for a size), and a tree may share too much in its own.
    """
    call = lab.numbers.function("map_shared_pages")
    if not reaches(code, call, {"mappages", "walk"}):
        return None
    best, chosen, oddity = None, None, 0
    narrow = fetched(code, call)
    for n, order in enumerate(possible(MAPS, narrow)):
        if best and (best.sure or odd(order, narrow) > oddity or n >= len(MAPS)):
            break
        for trial in _try_map(lab, shape, order):
            if best is None or trial.score > best.score:
                best, chosen = trial, swapped(order) if trial.swapped else order
                oddity = odd(order, narrow)
    shape.stored = best is not None and best.stored
    if best is None and not _understood(code, call, MAPS):
        shape.unclear += ("map_shared_pages",)
    return chosen


def _unmap_order(lab: Lab, shape: Shape, code: dict[str, Code]) -> Optional[Order]:
    """The order that takes a mapping away and nothing else; else the first that takes it away too."""
    call = lab.numbers.function("unmap_shared_pages")
    if not reaches(code, call, {"uvmunmap", "walk"}):
        return None
    also = None
    orders = possible(UNMAPS, fetched(code, call))
    for size in (64, PAGE):  # a tree may refuse what ends with a page, or what does not
        for order in orders:
            try:
                alone = _try_unmap(lab, shape, order, size)
            except Unanswered as error:
                shape.trouble = shape.trouble or error.text
                break  # there is nothing to unmap in any order
            if alone:
                return order
            also = also or (order if alone is None else None)
    if also is None and not _understood(code, call, UNMAPS):
        shape.unclear += ("unmap_shared_pages",)
    return also


def _try_map(lab: Lab, shape: Shape, order: Order) -> list[Trial]:
    """For each way round in which a frame went, how sure that is."""
    found: list[Trial] = []
    with lab.guest() as g:
        va = g.arena + PAGE
        g.main.fill(va, PAGE, 1)
        child = g.fork(1)
        child.fill(va, PAGE, 7)  # a copy of its own
        before = g.quiet()
        calls = Calls(g, Shape(order))
        by = {"src": g.main, "dst": child}[caller(order)]
        by.fill(calls.pointer, 8, MARK)
        value = 0
        try:
            arguments = calls.map_arguments(order, g.main, child, va, 64)
            value = by.call("map_shared_pages", *arguments).value
        except Unanswered as error:  # it may have worked and broken something else
            shape.trouble = shape.trouble or error.text
        after = g.look()
        told = _stored(g, after, by) if "pointer" in order else None
        if "pointer" in order and told is None:
            return []
        for src, dst, other in ((g.main.pid, child.pid, False), (child.pid, g.main.pid, True)):
            page = after.page(src, va)
            new = sorted(set(after.pages.get(dst, {})) - set(before.pages.get(dst, {})))
            at = [v for v in new if page and after.pages[dst][v].pa == page.pa]
            if at:
                stored = told is not None and at[0] <= told < at[0] + PAGE and value != told
                right = stored or at[0] <= value < at[0] + PAGE
                found.append(Trial((int(at[0] == new[0]), int(right), -len(new)), other, stored))
    return found


def _try_unmap(lab: Lab, shape: Shape, order: Order, size: int) -> Optional[bool]:
    """Does a mapping go again with this order of arguments? True: it alone; False: not at all; None:
    with more than it. Raises Unanswered if the guest does not live through the mapping.
    """
    with lab.guest() as g:
        child = g.fork(1)
        calls = Calls(g, shape)
        before = g.quiet()
        address = calls.share(g.main, child, g.arena + PAGE, size).value
        mapped = g.look()
        new = set(mapped.pages.get(child.pid, {})) - set(before.pages.get(child.pid, {}))
        shape.unmap_order = order
        child.fill(calls.pointer, 8, MARK)
        try:
            calls.unmap(child, address, size)
        except Unanswered:
            pass
        finally:
            shape.unmap_order = None
        after = g.look()
        gone = set(mapped.pages.get(child.pid, {})) - set(after.pages.get(child.pid, {}))
        if not new or not new <= gone or "pointer" in order and _stored(g, after, child) is None:
            return False
        return True if gone == new else None


def _learn_server(lab: Lab, shape: Shape) -> None:
    program = lab.build.programs.get("crypto_srv")
    if program is None or "crypto_op" not in lab.numbers:
        return
    code = functions_of(lab.build.prefix, Path(program))
    calls = (text for codes in code.values() for _, text in codes)
    shape.has_server = any("<take_shared_memory_request>" in text for text in calls)
    if not shape.has_server:
        shape.server_state = "crypto_srv never takes a request"
        return
    with lab.guest() as g:
        g.settle(1.0)
        look = g.until(lambda k: k.state(2) in ("SLEEPING", "ZOMBIE", None), 5.0) or g.look()
        server = look.process(2)
        shape.server_state = server.state if server else "gone"
        if server and server.state == "SLEEPING":
            shape.server_idle = server.chan
            registers = trapframe(g.kernel, server) or {}
            shape.server_polls = registers.get("a7") == lab.numbers["sleep"]
