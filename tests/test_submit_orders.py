"""What a tree's calls take in which order is found out for orders nobody has listed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import mutants
from tests.test_submit import submit
from tools.submit.code import fetched, reaches
from tools.submit.orders import MAPS, UNMAPS, odd, possible
from tools.submit.probes import static
from tools.submit.systemcalls import Numbers

FETCH = """\
li a0,2
addi a1,s0,-24
jal 80001000 <argaddr>
li a0,0
addi a1,s0,-28
jal 80001010 <argint>
li a0,1
jal 80001010 <argint>
jal 80002000 <find_proc>
li a0,3
auipc ra,0x0
jalr -40(ra) # 80001000 <argaddr>
"""
CODE = {
    "sys_map_shared_pages": list(enumerate(FETCH.splitlines())),
    "argint": [(0, "sw a0,0(s1)")],
    "argaddr": [(0, "sd a0,0(s1)")],
    "find_proc": [(0, "jal 80003000 <find_proc>"), (4, "j 80003004 <helper>")],
    "helper": [(0, "jal 80003008 <mappages>")],
}


def test_what_a_call_fetches_is_read_from_its_code() -> None:
    """Which arguments, and how wide; and whether it ever comes to change a page table."""
    narrow = fetched(CODE, "sys_map_shared_pages")
    assert narrow == {0: True, 1: True, 2: False, 3: False}
    assert fetched(CODE, "helper") == {}
    assert reaches(CODE, "sys_map_shared_pages", {"mappages"})
    assert not reaches(CODE, "argint", {"mappages"})


@pytest.mark.parametrize("fetch,ids", [("argint", ["X7"]), ("argaddr", [])])
def test_a_slot_of_the_stack_has_one_variable_after_another(
    monkeypatch: pytest.MonkeyPatch, fetch: str, ids: list[str]
) -> None:
    """What a later call has stored there as 8 bytes may be read as 8."""
    text = f"""\
addi a1,s0,-56
jal 80001010 <argint>
lw a0,-56(s0)
jal 80002000 <find_proc>
addi a1,s0,-56
jal 80001000 <{fetch}>
jal 80002100 <myproc>
ld s3,-56(s0)"""
    code = {**CODE, "sys_map_shared_pages": list(enumerate(text.splitlines()))}
    monkeypatch.setattr(static, "disassembly", lambda bench, path: code)
    elf = SimpleNamespace(path="kernel", line=lambda at: ("kernel/sysproc.c", at))
    bench: Any = SimpleNamespace(lab=SimpleNamespace(numbers=Numbers(), elf=elf))
    booked: list[str] = []
    bench.find = lambda id, *rest, **more: booked.append(id)
    static.narrow_fetch(bench)
    assert booked == ids


@pytest.mark.parametrize(
    "order",
    [
        ("va", "size", "src", "dst"),
        ("size", "src", "va", "dst"),
        ("pointer", "src", "va", "size"),
        ("size", "va", "dst"),
    ],
)
def test_an_order_nobody_has_listed_is_soon_tried(order: tuple[str, ...]) -> None:
    """Its kinds of arguments tell."""
    narrow = {i: name in ("src", "dst") for i, name in enumerate(order)}
    orders = possible(MAPS, narrow)
    assert order in orders[:8] and len(set(orders)) == len(orders)
    assert all(len(o) == len(order) for o in orders)
    assert [odd(o, narrow) for o in orders] == sorted(odd(o, narrow) for o in orders)


def test_the_usual_orders_come_first() -> None:
    """Also where the code tells nothing."""
    assert possible(MAPS, {})[: len(MAPS)] == list(MAPS)
    assert possible(UNMAPS, {0: True, 1: False, 2: False})[0] == ("pid", "va", "size")


HEAD = "uint64 sys_map_shared_pages(void) {\n"
PIDS = "int src = argint(0), dst = argint(1), outwards"
RANGE = "outwards ? other : p, argument(2), argument(3)"


def checked(folder: Path, mutant: str, ids: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """What the checker says of these ids in a mutant whose system calls are changed: old text, new text."""
    planted = mutants.plant(mutant, folder / "tree")
    file = planted / "kernel/ipc/syscrypt.c"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    result: dict[str, Any] = json.loads(submit("check", planted, "--only", ids, "--json").stdout)
    return result


def test_an_unusual_order_is_learned(built: None, tmp_path: Path) -> None:
    """A kernel that takes address and size first, whose functions fetch arguments in a way of their own."""
    pids = "int src = argint(3), dst = argint(2), outwards"
    pages = "outwards ? other : p, argument(1), argument(0)"
    result = checked(tmp_path, "M3", "M1,M3", (PIDS, pids), (RANGE, pages))
    assert result["shape"]["map_shared_pages"] == ["size", "va", "dst", "src"]
    assert [f["id"] for f in result["findings"]] == ["M3"], result


LOCKED = "acquire(&tree_lock);\n  int src = {}->pid;\n  release(&tree_lock);\n"
PARENT = "myproc()->parent"


@pytest.mark.parametrize(
    "source,more",
    [
        (LOCKED.format(PARENT), []),
        (f"int src = {PARENT}->pid;\n", ["K1"]),
        (f"struct proc *parent = {PARENT};\n  {LOCKED.format('parent')}", ["K1"]),
    ],
    ids=["all under a lock", "no lock", "who it is without a lock"],
)
def test_a_call_without_a_pid_maps_from_the_parent(
    built: None, tmp_path: Path, source: str, more: list[str]
) -> None:
    """Whose memory it is need not be said. It may be looked up without a lock all the same."""
    pids = f"{source}  int dst = myproc()->pid, outwards"
    pages = "outwards ? other : p, argument(0), argument(1)"
    ids = "M3,K1,K3,A1,A2,L3,U2"
    result = checked(tmp_path, "M3", ids, (PIDS, pids), (RANGE, pages))
    assert result["shape"]["map_shared_pages"] == ["va", "size"]
    assert sorted(f["id"] for f in result["findings"]) == [*more, "M3"], result
    assert not result["undecided"] and set(result["passed"]) >= {"K3", "A1", "A2", "L3", "U2"}


def test_locks_cross_where_one_maps_into_another(built: None, tmp_path: Path) -> None:
    """A call that gives the caller's own pages to the process it names: two of them can meet as well."""
    pids = "int src = myproc()->pid, dst = argint(0), outwards"
    pages = "outwards ? other : p, argument(1), argument(2)"
    result = checked(tmp_path, "K3", "K3", (PIDS, pids), (RANGE, pages))
    assert result["shape"]["map_shared_pages"] == ["dst", "va", "size"]
    assert [f["id"] for f in result["findings"]] == ["K3"], result


def test_a_call_that_takes_a_struct_is_not_called_missing(built: None, tmp_path: Path) -> None:
    """What is there but takes neither pid nor address is undecided, and said to be."""
    refusing = f"{HEAD}  if (argument(0) != 0)\n    return -1;\n"
    result = checked(tmp_path, "M3", "M1,M3", (HEAD, refusing))
    assert not result["findings"] and set(result["undecided"]) >= {"M1", "M3"}, result
    assert any("was not found out" in note for note in result["notes"])
