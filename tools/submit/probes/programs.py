"""The student's own programs: run three times over, and once with the mapping taken from them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.guest.elf import Elf
from tools.submit.probes.base import Bench, Outcome, Probe
from tools.submit.session import Answer, Session

EXPECTED = {
    "shmem_test1": "Hello child",
    "shmem_test2": "Hello daddy",
}
LONG = 30.0  # seconds of guest time for one of these programs


def own_programs(bench: Bench) -> None:
    """Each of the assignment's programs, three times in one guest."""
    for name in ("shmem_test1", "shmem_test2", "crypto_cli", "shmem_test", "log_test"):
        if name not in bench.lab.build.programs:
            continue
        if name == "crypto_cli" and not bench.shape.server_idle:
            bench.report.notes.append("crypto_cli was not run: no server waits for requests")
            continue
        _run_thrice(bench, name)


def _run_thrice(bench: Bench, name: str) -> None:
    with bench.guest() as (g, _):
        counts = [len(g.quiet().free.frames)]
        for run in (1, 2, 3):
            at = len(g.talk)
            outcome = run_program(bench, name, g)
            printed = [_plain(line) for line in g.talk[at:]]
            if outcome.panic:
                _judge_panic(bench, name, run, outcome, printed)
                return
            if outcome.error:
                bench.report.notes.append(
                    f"{name}, run {run}: no end within {LONG:.0f} s of guest time"
                )
                return
            counts.append(len(g.quiet().free.frames))
            expected = EXPECTED.get(name)
            if run == 1 and expected and not any(expected in line for line in printed):
                bench.report.notes.append(f"{name} does not print {expected!r}")
        lost = counts[2] - counts[3]
        if lost > 0 and counts[1] - counts[2] == lost and not bench.found("X8"):
            bench.find(
                "L4",
                f"Every run of {name} loses {lost} frame{'s' if lost > 1 else ''}.",
                [f"free frames before, and after each of three runs: {counts}"],
            )


def _plain(line: str) -> str:
    return line[:160]


def run_program(bench: Bench, name: str, g: Session, argument: str = "") -> Outcome:
    """Runs a program to its end, with time enough for it."""
    usual, g.timeout = g.timeout, LONG

    def go() -> Answer:
        g.main.run(name, argument)
        return g.main.ask("W")

    try:
        return bench.attempt(g, go)
    finally:
        g.timeout = usual


def _judge_panic(bench: Bench, name: str, run: int, outcome: Outcome, printed: list[str]) -> None:
    lines = [f"{name}, run {run}: {outcome}", *printed[-4:]]
    if name == "crypto_cli" and run > 1 and "remap" in outcome.panic:
        bench.find(
            "X5",
            "A second crypto_cli panics: its request is mapped where the server has memory.",
            lines,
        )
    elif not bench.known:
        bench.undecided("L4", f"{name} panics in run {run}: {outcome}")
    else:
        bench.report.notes.append(f"{name}, run {run}: {outcome}")


STUB = """
.global map_shared_pages
map_shared_pages:
 mv a0, {va}
 ret
.global unmap_shared_pages
unmap_shared_pages:
 li a0, 0
 ret
"""


def hollow_test(bench: Bench) -> None:
    """shmem_test1 linked with a mapping that maps nothing and returns the source's own address."""
    root, name = bench.lab.build.tree.root, "shmem_test1"
    objects = [root / "user" / f"{n}.o" for n in (name, "ulib", "usys", "printf", "umalloc")]
    order = bench.shape.map_order or ()
    if not all(o.is_file() for o in objects) or "va" not in order:
        bench.undecided("T1", f"{name}'s objects are not where xv6 has them")
        return
    where = Path(bench.lab.folder) / "hollow"
    where.mkdir(exist_ok=True)
    (where / "stub.S").write_text(STUB.format(va=f"a{order.index('va')}"), encoding="ascii")
    tool = bench.lab.build.prefix
    ld = [
        f"{tool}ld",
        "-z",
        "max-page-size=4096",
        "-z",
        "muldefs",
        "-T",
        str(root / "user/user.ld"),
    ]
    ld = ld if (root / "user/user.ld").is_file() else [*ld[:5], "-N", "-e", "main", "-Ttext", "0"]
    steps = [
        [
            f"{tool}gcc",
            "-march=rv64gc",
            "-mabi=lp64d",
            "-c",
            "-o",
            str(where / "stub.o"),
            str(where / "stub.S"),
        ],
        [*ld, "-o", str(where / "_hollow"), str(where / "stub.o"), *map(str, objects)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            bench.undecided("T1", f"{name} could not be linked anew: {done.stderr.strip()[-120:]}")
            return
    real = bench.lab.build.programs[name]
    outputs = [_output(bench, name, path) for path in (real, where / "_hollow")]
    wanted = EXPECTED[name]
    if all(any(wanted in line for line in output) for output in outputs):
        bench.find(
            "T1",
            f"{name} prints {wanted!r} even when map_shared_pages maps nothing: it reads fork's copy.",
            [f"with the mapping: {outputs[0]}", f"without it: {outputs[1]}"],
            function="main",
            line=_main_line(real),
        )


def _main_line(path: Path) -> tuple[str, int] | None:
    elf = Elf(str(path))
    return elf.line(elf.symbols["main"].address) if "main" in elf.symbols else None


def _output(bench: Bench, name: str, path: Path) -> list[str]:
    """What a program prints when run once as `name`, on an image made for it."""
    with bench.guest(image=bench.lab.make_image({name: path})) as (g, _):
        at = len(g.talk)
        run_program(bench, name, g)
        return [re.sub(r"\s+", " ", line)[:100] for line in g.talk[at:]]


PROBES = [
    Probe("own programs", ("L4", "X5"), (), own_programs, stage=3),
    Probe("hollow test", ("T1",), ("map", "test1"), hollow_test, stage=3),
]
