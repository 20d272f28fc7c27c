"""tools/submit/probes/unmapping.py against kernels that are played here, which differ in the arithmetic of a line."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Callable, Iterator, cast

import pytest

from tools.submit.look import Look, Page
from tools.submit.probes import unmapping
from tools.submit.probes.base import PAGE, Bench, Outcome, rounded
from tools.submit.session import Actor, Answer, Panicked, Session
from tools.submit.shape import Shape

MAIN, CHILD, ARENA, TOP = 3, 4, 0x4000, 0x1_6000
SHARED = 0x1D7  # V R W U A D and PTE_S


Rule = Callable[[int, int], int]


class NoFrames(set[int]):
    """A free list with nothing on it."""

    problem = ""


class Kernel:
    """A process's sz and mappings. returned: what a mapping returns of its first page and the offset in it; grown,
    shrunk: by how much sz changes, of a size in bytes and in whole pages; taken: how many bytes of pages are unmapped.
    """

    def __init__(self, returned: Rule, grown: Rule, shrunk: Rule, taken: Rule):
        self.returned, self.grown, self.shrunk, self.taken = returned, grown, shrunk, taken
        self.size = TOP
        self.pages: dict[int, Page] = {}

    def share(self, va: int, size: int) -> Answer:
        """Maps the pages of a range, as many as it lies in."""
        inside, to = va % PAGE, rounded(self.size)
        whole = rounded(inside + size)
        for at in range(0, whole, PAGE):
            self.pages[to + at] = Page(to + at, 0x8700_0000 + va - inside + at, SHARED)
        self.size += self.grown(size, whole)
        return Answer(self.returned(to, inside), b"")

    def unmap(self, va: int, size: int) -> Answer:
        """Unmaps the pages of a range."""
        whole = rounded(va % PAGE + size)
        for at in range(va & -PAGE, (va & -PAGE) + self.taken(size, whole), PAGE):
            self.pages.pop(at, None)
        self.size -= self.shrunk(size, whole)
        return Answer(0, b"")

    def leave(self) -> Outcome:
        """Exit goes through the pages from TOP to sz, and finds what lies above."""
        covered = set(range(TOP, rounded(self.size), PAGE))
        if covered - set(self.pages):
            return Outcome(None, Panicked("panic: uvmunmap: not mapped", "W"))
        if set(self.pages) - covered:
            return Outcome(None, Panicked("panic: freewalk: leaf", "W"))
        return Outcome(Answer(CHILD, b""))

    def look(self) -> Look:
        """What there is now."""
        seen = cast(Any, Look.__new__(Look))
        child = SimpleNamespace(pid=CHILD, state="SLEEPING", size=self.size)
        seen.processes = SimpleNamespace(used=[child])
        seen.pages = {CHILD: dict(self.pages)}
        seen.free = NoFrames()
        return cast(Look, seen)


class Played(Bench):
    """A bench whose guests are played; found: id -> sentence."""

    def __init__(self, make: Callable[[], Kernel]):
        self.make, self.shape, self.booked = make, Shape(), dict[str, str]()
        self.kernel = make()

    @contextmanager
    def guest(self, image: object = None) -> Iterator[tuple[Any, Any]]:
        """A kernel, and its two calls."""
        kernel = self.kernel = self.make()
        session = SimpleNamespace(main=SimpleNamespace(pid=MAIN), arena=ARENA, quiet=kernel.look)
        session.fork = lambda index: SimpleNamespace(pid=CHILD)
        calls = SimpleNamespace(
            share=lambda src, dst, va, size: kernel.share(va, size),
            unmap=lambda actor, va, size: kernel.unmap(va, size),
        )
        yield session, calls

    def farewell(self, g: Session, actor: Actor) -> Outcome:
        """It leaves."""
        return self.kernel.leave()

    def find(self, id: str, sentence: str, evidence: list[str], *rest: Any, **more: Any) -> None:
        """Books it."""
        self.booked.setdefault(id, sentence)

    def found(self, *ids: str) -> bool:
        """Is one booked?"""
        return bool(set(ids) & set(self.booked))

    def undecided(self, id: str, why: str) -> None:
        """Books that."""
        self.booked.setdefault(id, why)


def inside(first: int, offset: int) -> int:
    """The address of the source's byte."""
    return first + offset


def base(first: int, offset: int) -> int:
    """That of its page."""
    return first


def bytes_of(size: int, whole: int) -> int:
    """sz changes by the bytes asked for."""
    return size


def pages_of(size: int, whole: int) -> int:
    """By those of the pages that hold them."""
    return whole


def rounded_of(size: int, whole: int) -> int:
    """By as many pages as the bytes fill, wherever they begin."""
    return rounded(size)


@pytest.mark.parametrize(
    "returned,grown,shrunk,taken,ids",
    [
        (inside, pages_of, pages_of, pages_of, []),
        (base, pages_of, pages_of, pages_of, []),
        (base, bytes_of, bytes_of, pages_of, ["U4"]),
        (inside, pages_of, bytes_of, pages_of, ["U1"]),
        (base, pages_of, bytes_of, pages_of, ["U1"]),
        (inside, pages_of, rounded_of, rounded_of, ["U4"]),
    ],
)
def test_a_pair_is_judged_as_the_tree_has_it(
    returned: Rule, grown: Rule, shrunk: Rule, taken: Rule, ids: list[str]
) -> None:
    """sz that goes up and down by the same is even, also where the returned address lacks the offset: what such a
    kernel does with a part of a mapping is another mistake, and so is what it leaves of one that ends in another page.
    """
    bench = Played(lambda: Kernel(returned, grown, shrunk, taken))
    unmapping.pairs(bench)
    assert sorted(bench.booked) == ids, bench.booked
