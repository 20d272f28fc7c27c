"""In which orders a tree's calls may take their arguments: what its machine code allows, the likeliest first.

An order names what stands at each place: pids src and dst (or the caller is one of them; where neither is named, it
gets its parent's memory), pid, va, size, and pointer, where the kernel stores an address or a size.
"""

from __future__ import annotations

from itertools import permutations

Order = tuple[str, ...]
# Seen in trees; one with a pointer before the same without: it must be written. One without any pid before the same
# with: else whatever stands there would be taken for it.
MAPS: tuple[Order, ...] = (
    ("src", "dst", "va", "size"),
    ("src", "va", "size", "pointer"),
    ("src", "va", "size"),
    ("va", "size", "pointer"),
    ("va", "size"),
    ("va", "size", "src", "pointer"),
    ("va", "size", "src"),
    ("va", "src", "size"),
    ("dst", "va", "size"),
    ("src", "dst", "va", "size", "pointer"),
    ("dst", "va", "size", "pointer"),
)
UNMAPS: tuple[Order, ...] = (
    ("pid", "va", "size"),
    ("va", "size", "pointer"),
    ("va", "size"),
    ("pid", "va", "size", "pointer"),
    ("pid", "va"),
    ("va",),
)
PIDS = ("src", "dst", "pid")


def from_parent(order: Order) -> bool:
    """Is the source of a mapping whoever's child calls, as no pid is given?"""
    return not {"src", "dst"} & set(order)


def caller(order: Order) -> str:
    """Who calls: src where a process gives what is its own, else dst."""
    return "src" if "dst" in order and "src" not in order else "dst"


def swapped(order: Order) -> Order:
    """The same with source and destination exchanged."""
    other = {"src": "dst", "dst": "src"}
    return tuple(other.get(name, name) for name in order)


def odd(order: Order, narrow: dict[int, bool]) -> int:
    """How badly an order fits what is fetched: an address in 4 bytes cannot be, a pid in 8 is odd."""
    wrong = 0
    for place, name in enumerate(order):
        if place in narrow:
            wrong += 10 * (narrow[place] and name in ("va", "pointer"))
            wrong += not narrow[place] and name in PIDS
    return wrong


def possible(known: tuple[Order, ...], narrow: dict[int, bool]) -> list[Order]:
    """Orders of a call that fetches the arguments `narrow` (code.fetched()): those `known` first among
    those that fit equally well. With both pids, source first: a trial shows which way round it is.
    """
    count = max(narrow) + 1 if narrow else 0
    every = [order for one in known for order in permutations(one)]
    orders = [o for o in every if not {"src", "dst"} <= set(o) or o.index("src") < o.index("dst")]
    rank = {order: n for n, order in reversed(list(enumerate([*known, *orders])))}
    if len(narrow) < count or not count:  # not all of its arguments were seen
        return list(known) + [o for o in rank if o not in known and "pointer" not in o]
    fit = [o for o in rank if len(o) == count and odd(o, narrow) < 10]
    return sorted(fit, key=lambda o: (odd(o, narrow), rank[o]))
