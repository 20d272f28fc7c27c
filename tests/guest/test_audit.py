"""The audit: each kind of disagreement between page tables, free list and counts is found, and nothing else."""

from __future__ import annotations

import pytest

from tests.guest.image import DATA, Image
from tools.guest.accounts import account
from tools.guest.audit import Audit, Finding
from tools.guest.memory import PAGE, RAM_BASE, GuestError
from tools.guest.processes import Processes
from tools.guest.sharing import Mappings, owner, runs
from tools.guest.snapshot import Snapshot, diff, take
from tools.guest.sv39 import C, R, S, U, V, W, X, walk


def found(image: Image) -> list[str]:
    return sorted(f.kind for f in Audit(Processes(image.kernel)).run())


def pa(image: Image, root: int, va: int) -> int:
    result = walk(image.memory, root, va).pa
    assert result is not None
    return result


def share(image: Image) -> tuple[int, int, int]:
    """Process 2 sees the second page of process 1; the roots and the frame."""
    image.free(image.frame())
    one, two = image.process(0, 1, "cli"), image.process(1, 2, "srv")
    frame = pa(image, one, 0x1000)
    image.map(two, 0x2000, frame, DATA | S)
    image.set("proc[1].sz", 0x3000)
    return one, two, frame


def count_all(image: Image) -> None:
    """Gives every frame the count its mappings ask for."""
    for frame, leaves in Mappings(Processes(image.kernel)).frames.items():
        image.count(frame, len(leaves), sum(m.shared_in for m in leaves))


@pytest.mark.parametrize("kind", ["image", "counted"])
def test_sound_sharing(kind: str, request: pytest.FixtureRequest) -> None:
    image: Image = request.getfixturevalue(kind)
    _, _, frame = share(image)
    if kind == "counted":
        count_all(image)
    assert found(image) == []
    (run,) = runs(Mappings(Processes(image.kernel)).shared())
    mine = owner(run.mappings)
    assert (run.pa, run.pages, run.kind) == (frame, 1, "shared")
    assert mine and (mine.process.pid, mine.va) == (1, 0x1000)
    assert [(m.process.pid, m.va) for m in run.mappings if m.shared_in] == [(2, 0x2000)]


def test_runs_of_pages_are_one(image: Image) -> None:
    one, two = image.process(0, 1, pages=4), image.process(1, 2, pages=1)
    for i in range(3):
        image.map(two, 0x5000 + i * PAGE, pa(image, one, 0x1000 + i * PAGE), DATA | S)
    (run,) = runs(Mappings(Processes(image.kernel)).shared())
    assert (run.pages, [m.va for m in run.mappings]) == (3, [0x1000, 0x5000])


def test_freed_but_mapped(image: Image) -> None:
    one, _, frame = share(image)
    image.free(image.frame(), frame)
    (finding,) = Audit(Processes(image.kernel)).freed_but_mapped()
    assert finding.data == {"frame": frame, "mappings": [[1, 0x1000], [2, 0x2000]]}
    assert "pid 1 at 0x1000, pid 2 at 0x2000" in finding.message


def test_table_page_on_the_free_list(image: Image) -> None:
    one, _, _ = share(image)
    image.free(image.frame(), one)  # which also overwrites its first entry
    assert "freed-table" in found(image)


def test_shared_bit_without_partner(image: Image, counted: Image) -> None:
    """A lost frame to be where nothing is counted; where counts are kept, an owner that has gone."""
    for kernel, kind in ((image, "no-partner"), (counted, "owner-gone")):
        share(kernel)
        kernel.set("proc[0].state", 0)
        if kernel is counted:
            count_all(kernel)
        assert found(kernel) == [kind]


def test_two_owners(image: Image, counted: Image) -> None:
    """The same frame private in two processes: wrong where nothing counts, a fork where it does."""
    for kernel, expected in ((image, ["two-owners"]), (counted, [])):
        one, two, frame = share(kernel)
        kernel.map(two, 0x2000, frame, DATA)
        if kernel is counted:
            count_all(kernel)
        assert found(kernel) == expected


def test_counts_that_differ(counted: Image) -> None:
    _, _, frame = share(counted)
    count_all(counted)
    counted.count(frame, 3, 1)
    assert found(counted) == ["count"]
    counted.count(frame, 2, 0)
    assert found(counted) == ["shares"]


@pytest.mark.parametrize(
    "va, entry, kind",
    [
        (0x5000, 0x8030_0000 >> 2 | DATA, "above-sz"),
        (0x1000, 0x8030_0000 >> 2 | V | R | W | X | U, "w-and-x"),
        (0x1000, 0x8030_0000 >> 2 | V | W | U, "entry-w-without-r"),
        (0x1000, 0x9030_0000 >> 2 | DATA, "entry-outside"),
        (0x1000, 0x8000_0000 >> 2 | DATA, "kernel-frame"),
        (0x1000, 0, "hole"),
        (0x1000, C, None),
    ],
)
def test_one_table(image: Image, va: int, entry: int, kind: str | None) -> None:
    """What `pagetable --check` looks for; a mark the kernel keeps in an empty entry is no fault."""
    image.free(image.frame())
    root = image.process(0, 1, pages=4)
    at = image.map(root, va, RAM_BASE + (3 << 20))
    image.word(at, entry)
    assert found(image) == [kind] * (kind is not None)


def test_zombies_may_have_holes(image: Image) -> None:
    image.free(image.frame())
    image.process(0, 1, state=5)
    image.set("proc[0].sz", 0x9000)
    assert found(image) == []


def test_quiet_audit_finds_held_locks(image: Image) -> None:
    share(image)
    image.set("ftable.lock.locked", 1)
    finding: Finding
    (finding,) = Audit(Processes(image.kernel)).quiet()
    assert (finding.kind, finding.data["lock"]) == ("lock-held", "ftable.lock")


def test_accounts(image: Image) -> None:
    """Every frame is free, somebody's, or leaked."""
    one, _, shared = share(image)
    first = -(-max(s.paddr + s.memsz for s in image.elf.segments) // PAGE) * PAGE
    end = RAM_BASE + len(image.ram)
    reached = set(Mappings(Processes(image.kernel)).frames)
    tables = {pa for t in Mappings(Processes(image.kernel)).tables.values() for pa in t.pages}
    kernel_root, object_page = image.frame(), image.frame()
    image.set("kernel_pagetable", kernel_root)
    image.set("ftable.file[0].pipe", object_page)
    lost = image.frame()
    rest = set(range(first, end, PAGE)) - reached - tables - {kernel_root, object_page, lost}
    image.free(*sorted(rest))
    a = account(Audit(Processes(image.kernel)))
    assert a.leaked == [lost]
    assert (a.free, a.kernel_tables, a.kernel_data) == (len(rest), 1, 1)
    assert [(p.process.pid, p.own, p.shared, p.tables) for p in a.processes] == [
        (1, 1, 1, 3),
        (2, 2, 1, 3),
    ]
    total = a.free + a.kernel + a.kernel_tables + a.kernel_data + 2 * 3 + 3 + 1 + len(a.leaked)
    assert total == a.total


def test_snapshots(image: Image) -> None:
    """What changed, and only that; a snapshot survives being written down."""
    one, two, frame = share(image)
    before = take(Processes(image.kernel))
    assert diff(before, before) == []
    assert Snapshot.from_json(before.to_json()) == before
    image.map(two, 0x3000, image.frame())
    image.set("proc[1].sz", 0x4000)
    image.set("proc[0].state", 5)
    image.process(3, 9, "new", pages=0)
    after = take(Processes(image.kernel))
    changes = [(c.what, c.pid, c.where, c.before, c.after) for c in diff(before, after)]
    assert ("process", 1, "state", "SLEEPING", "ZOMBIE") in changes
    assert ("process", 2, "sz", "0x3000", "0x4000") in changes
    assert ("process", 9, "", "", "new SLEEPING") in changes
    assert [c[:3] for c in changes if c[0] == "page"] == [("page", 2, "0x3000")]
    with pytest.raises(GuestError, match="not a snapshot"):
        Snapshot.from_json("[]")
