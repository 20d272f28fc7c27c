"""Kernels whose structs and debug information differ from xv6's of one year: every command on each, by fields alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guest.image import DATA, Image
from tests.guest.test_inspect import run
from tools.guest.frames import free_list
from tools.guest.memory import GuestError
from tools.guest.sv39 import R, U, V, X

COMMANDS = (
    "ps",
    "ps -b",
    "ps --all",
    "ps sh",
    "pagetable 1",
    "pagetable 1 --all",
    "pagetable 1 --tree",
    "pagetable 1 --check",
    "pagetable kernel",
    "pagetable kernel --all",
    "pagetable hart 1",
    "walk 0x1000 1",
    "shmem",
    "shmem 1",
    "shmem check",
    "shmem queue",
    "locks",
    "locks --all",
    "frames",
    "snapshot a",
)
LAYOUTS = {
    "dwarf 2": ("-gdwarf-2",),
    "dwarf 5": ("-gdwarf-5",),
    "optimised": ("-O2", "-gdwarf-4"),
    "no optional field": ("-DBARE",),
    "a free list for each hart": ("-DPER_HART",),
    "bits shuffled": ("-DBARE", "-DPER_HART", "-gdwarf-5"),
}


@pytest.fixture(params=LAYOUTS.values(), ids=list(LAYOUTS))
def other(folder: Path, request: pytest.FixtureRequest) -> Image:
    """A guest with two processes and a kernel table, in one of the layouts."""
    image = Image(folder, flags=request.param)
    root = image.frame()
    image.map(root, 0x8000_0000, 0x8000_0000, V | R | X, level=1)
    image.set("kernel_pagetable", root)
    for slot, name in enumerate(("init", "sh")):
        image.process(slot, slot + 1, name)
    return image


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command(other: Image, line: str) -> None:
    """A table, or one line that says what this kernel lacks."""
    try:
        data, text = run(other, line)
    except GuestError as error:
        assert "\n" not in str(error) and line.startswith(("frames", "shmem queue")), error
        return
    assert "Traceback" not in text and "None" not in text
    if line == "ps":
        assert [(p["pid"], p["name"], p["state"]) for p in data["processes"]] == [
            (1, "init", "SLEEPING"),
            (2, "sh", "SLEEPING"),
        ]
    if line == "pagetable 1 --all":
        assert [r["va"] for r in data["ranges"]] == [0, 0x1000]


def test_a_list_for_each_hart(folder: Path) -> None:
    """All lists are the free frames; a frame on two of them is found."""
    image = Image(folder, flags=("-DPER_HART",))
    frames = [image.frame() for _ in range(4)]
    for hart in (0, 1):
        image.set(f"kmem[{hart}].freelist", frames[2 * hart])
        image.word(frames[2 * hart], frames[2 * hart + 1])
    found = free_list(image.kernel)
    assert (sorted(found.frames), found.problem) == (frames, "")
    image.word(frames[3], frames[0])
    assert "twice" in free_list(image.kernel).problem


def test_a_field_that_is_not_there_is_a_dash(folder: Path) -> None:
    image = Image(folder, flags=("-DBARE",))
    image.process(0, 1, "init", state=3)
    row = run(image, "ps")[1].splitlines()[1].split()
    assert row[:4] == ["1", "-", "RUNNABLE", "-"]
    root = run(image, "pagetable 1")[0]["root"]
    image.map(root, 0x40_0000, image.frame(), DATA & ~U)
    assert "kernel page" in run(image, "pagetable 1")[1]
