"""tools/submit sees what a kernel does: through breakpoints, against what that kernel itself recorded; what a
trace says about a finding; what a report draws of it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from tests.harness import tree
from tests.trace.synthetic import Story
from tools.guest.elf import Elf
from tools.guest.stack import Frame
from tools.submit import build as building
from tools.submit import drawing, recording
from tools.submit import tree as trees
from tools.submit.findings import Finding
from tools.submit.kept import keeper, locking
from tools.submit.lab import Lab
from tools.submit.observe import Breakpoints, Rings, events_table, observe, returns
from tools.submit.session import Session
from tools.submit.shape import Calls, Shape
from tools.trace import trace as traces
from tools.trace.trace import Trace

SHAPE = Shape(("src", "dst", "va", "size"), ("pid", "va", "size"))
PROCESSES = ("fork", "exit", "wait", "map", "unmap")
FRAME, ROOT = 0x8100_0000, 0x8200_0000


@pytest.fixture(scope="module")
def lab(built: None) -> Iterator[Lab]:
    """This tree, built once more as a submission is."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)
        made = building.build(trees.copy(tree.ROOT, work / "tree"))
        lab = Lab(made, work / "guests")
        lab.check_clock()
        yield lab


def share_and_leave(g: Session) -> None:
    """A child maps a page of its parent's, gives it back, and leaves."""
    child, calls = g.fork(1), Calls(g, SHAPE)
    at = calls.share(g.main, child, g.arena + 0x123, 64).value
    assert calls.unmap(child, at, 64).value == 0
    child.exit()
    g.main.ask("W")


def told(path: Path) -> list[tuple[str, int, tuple[int, ...]]]:
    """What a trace says of processes and mappings: event, pid, arguments."""
    trace = traces.load(path)
    rows = []
    for i in trace.of(*PROCESSES).tolist():
        info = trace.table.events[int(trace.records["event"][i])]
        arguments = trace.records["args"][i][: info.slots].tolist()
        if info.name == "fork":
            arguments = arguments[:1]
        elif info.name == "wait":
            arguments = arguments[:1]
        rows.append((info.name, int(trace.records["pid"][i]), tuple(arguments)))
    return rows


def test_breakpoints_see_what_the_kernel_records(lab: Lab, tmp_path: Path) -> None:
    """The same processes, mappings and sizes, whether the kernel tells or is watched."""
    with lab.guest() as g:
        own = observe(g, tmp_path / "own.trace", lab.folder)
        assert isinstance(own, Rings)
        watched = Breakpoints(g, tmp_path / "watched.trace", events_table(lab.folder))
        share_and_leave(g)
        watched.close()
        own.close()
    expected = told(tmp_path / "own.trace")
    assert [row[0] for row in expected] == ["fork", "map", "unmap", "exit", "wait"]
    assert told(tmp_path / "watched.trace") == expected
    trace = traces.load(tmp_path / "watched.trace")
    assert len(trace.of("acquire")) and len(trace.of("acquire")) == len(trace.of("release"))
    page = drawing.drawn(tmp_path / "watched.trace")
    assert 'aria-label="timeline"' in page and "map src=" in page


def test_locks_of_a_mapping(lab: Lab) -> None:
    """Both processes' locks are seen being taken, in a guest and in one that does the same again; this kernel comes
    back with none of them.
    """
    with lab.guest() as g:
        child, calls = g.fork(1), Calls(g, SHAPE)
        order = SHAPE.map_order or ()
        arguments = calls.map_arguments(order, g.main, child, g.arena, 4096)
        mapping = "c " + g.coded("map_shared_pages", tuple(arguments))
        taken: list[str] = []
        held, back = locking(
            g,
            "sys_map_shared_pages",
            lambda: g.post(child.index, mapping),
            lambda: g.answered(child.index),
            lambda lock, held: taken.append(held[lock][1].function or ""),
        )
        assert held == {} and back and taken.count("map_shared_pages") == 2, taken
        assert keeper(g, lab.guest) == []
        with lab.guest() as again:
            again.repeat(g.given)
            assert again.until(lambda look: again.answered(child.index), 2.0) is not None
            assert again.quiet().shared(child.pid) == g.quiet().shared(child.pid)


def test_returns() -> None:
    """Every address is one of a return instruction of that function."""
    elf = Elf(str(tree.KERNEL))
    symbol = elf.symbols["map_shared_pages"]
    found = returns(elf, symbol.address, symbol.size)
    assert found
    for at in found:
        assert symbol.address < at < symbol.address + symbol.size
        assert elf.bytes_at(at, 2) == b"\x82\x80" or elf.bytes_at(at, 4) == b"\x67\x80\x00\x00"


class Stacks:
    """Stands for an observer: who caused the record of a number."""

    def __init__(self, stacks: dict[int, list[Frame]]):
        self.stacks = stacks

    def stack(self, sequence: int) -> list[Frame]:
        """As an observer's."""
        return self.stacks.get(sequence, [])

    def close(self) -> None:
        """Nothing to do."""


def finding(id: str) -> Finding:
    """One without evidence."""
    return Finding(id, "error", "", "elsewhere", "kernel/other.c", 1, [], "", "", "")


def explained(id: str, trace: Trace, stacks: dict[int, list[Frame]]) -> Finding:
    """A finding after its trace was looked at."""
    found = finding(id)
    recording.explain(found, trace, Stacks(stacks))  # type: ignore[arg-type]
    return found


def test_double_free_is_told_at_the_first() -> None:
    """L1 lies where a frame was freed by who did not own it, not where that came out."""
    s = Story().process(3, "init", ROOT)
    s.alloc(pid=3, frame=FRAME).pte_set(pid=3, root=ROOT, va=0x4000, frame=FRAME, bits=0xD7)
    s.free(pid=4, frame=FRAME).free(pid=3, frame=FRAME)
    early = [Frame(1, False, "unmap_shared_pages", ("kernel/vm.c", 77))]
    late = [Frame(2, False, "freewalk", ("kernel/vm.c", 300))]
    found = explained("L1", s.trace(), {3: early, 4: late})
    assert (found.function, found.file, found.line) == ("unmap_shared_pages", "kernel/vm.c", 77)
    assert any("freed while" in line for line in found.evidence)
    assert any("freed twice" in line for line in found.evidence)


def test_lost_frame_is_told_at_its_copy() -> None:
    """L2 lies where the copy was made that nobody gives back; a frame that is freed is none."""
    s = Story().process(3, "init", ROOT)
    for n in (0, 1):
        frame = FRAME + n * 4096
        s.alloc(pid=3, frame=frame).pte_set(pid=3, root=ROOT, va=n * 4096, frame=frame, bits=0xD7)
        s.pte_clear(pid=3, root=ROOT, va=n * 4096, frame=frame)
    s.free(pid=3, frame=FRAME)
    copy = [Frame(1, False, "uvmcopy", ("kernel/vm.c", 330))]
    found = explained("L2", s.trace(), {4: copy})
    assert (found.function, found.line) == ("uvmcopy", 330)
    assert [line for line in found.evidence if "never given back" in line] == [
        f"recorded: frame {FRAME + 4096:#x} is never given back"
    ]
