"""The student's own programs: run three times over, and once with the mapping taken from them."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from tools.guest import Processes
from tools.guest.elf import Elf
from tools.guest.stack import trapframe
from tools.submit.orders import from_parent
from tools.submit.probes.base import Bench, Outcome, Probe
from tools.submit.probes.server import WORK, gone, is_idle
from tools.submit.session import Answer, Session
from tools.submit.stub import CODE
from tools.submit.watch import Lost, passing

EXPECTED = {
    "shmem_test1": "Hello child",
    "shmem_test2": "Hello daddy",
}
LONG = 30.0  # seconds of guest time for one of these programs


def own_programs(bench: Bench) -> None:
    """Each of the assignment's programs, three times in one guest."""
    if not bench.shape.server_idle:
        bench.undecided("X5", "no server waits for requests")
    for name in ("shmem_test1", "shmem_test2", "crypto_cli", "shmem_test", "log_test"):
        if name not in bench.lab.build.programs:
            continue
        if name == "crypto_cli" and not bench.shape.server_idle:
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
                bench.undecided("X5" if name == "crypto_cli" else "L4", f"{name} does not end")
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
    """Runs a program to its end, with time enough for it, once the server has said what it says at its start."""
    if bench.shape.server_idle:
        g.until(lambda k: is_idle(bench, k) or gone(k), WORK)
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
            "main",
            elf=Elf(str(bench.lab.build.programs["crypto_srv"])),
        )
    else:
        bench.undecided("L4", f"{name} panics in run {run}")
        bench.report.notes.append(f"{name}, run {run}: {outcome}")


# What takes the place of a system call's stub: 8 bytes there (li a7; ecall; ret), 6 here.
ELSEWHERE = (
    b"\x13\x05\x01\xc0\x82\x80"  # addi a0,sp,-1024; ret: memory of one's own, with nothing in it
)
ZERO = b"\x13\x05\x00\x00\x82\x80"  # li a0,0; ret


def hollow_tests(bench: Bench) -> None:
    """shmem_test1 and 2 with a mapping that maps nothing and gives other memory; and do they map from
    themselves? A test that prints what it should all the same cannot fail.
    """
    for name, wanted in EXPECTED.items():
        real = bench.lab.build.programs.get(name)
        if real is None:
            continue
        printed, selfish = _output(bench, name, real), _maps_itself(bench, name)
        right = any(wanted in line for line in printed)
        if not right and not selfish:
            bench.undecided("T1", f"{name} does not print {wanted!r}: {printed[-3:]}")
            continue
        lines = [f"with the mapping: {printed}"]
        sentence = ""
        hollow = _output(bench, name, _hollow(bench, real)) if right else []
        if any(wanted in line for line in hollow):
            sentence = f"{name} prints {wanted!r} even when map_shared_pages maps nothing: it reads fork's copy."
            lines.append(f"with a mapping that gives other memory: {hollow}")
        elif selfish:
            sentence = (
                f"{name} shares memory with itself: it says nothing of what other processes see."
            )
            lines += selfish
        elif name == "shmem_test2" and not re.search(r"\d", " ".join(printed).replace(name, "")):
            sentence = "shmem_test2 prints no sizes, so it cannot show a wrong one."
        if sentence:
            bench.find("T1", sentence, lines, "main", _main_line(real), Elf(str(real)))


def one_run(bench: Bench) -> None:
    """A scene: the two programs, once."""
    with bench.guest() as (g, _):
        for name in EXPECTED:
            if name in bench.lab.build.programs:
                run_program(bench, name, g)


def _hollow(bench: Bench, program: Path) -> Path:
    """The program with other code for the two calls, if it has them."""
    image, elf = bytearray(program.read_bytes()), Elf(str(program))
    for name, code in (("map_shared_pages", ELSEWHERE), ("unmap_shared_pages", ZERO)):
        symbol = elf.symbols.get(bench.lab.numbers.name(name))
        for s in elf.segments if symbol else ():
            if symbol and s.vaddr <= symbol.address < s.vaddr + s.filesz:
                at = s.offset + symbol.address - s.vaddr
                image[at : at + len(code)] = code
    path = Path(bench.lab.folder) / f"{program.name}.hollow"
    path.write_bytes(image)
    return path


def _maps_itself(bench: Bench, name: str) -> list[str]:
    """The calls of a run, if in each of them source and destination are one process."""
    order = bench.shape.map_order or ()
    entry = bench.lab.elf.symbols.get(bench.lab.numbers.function("map_shared_pages"))
    if entry is None or from_parent(order):
        return []
    calls = []
    with bench.guest() as (g, _):
        g.main.run(name)
        stops = passing(
            g,
            [(CODE, entry.address, 4)],
            lambda: g.post(0, "W"),
            lambda: g.answered(0),
        )
        try:
            with closing(stops):
                for _stub, stop in stops:
                    process = Processes(g.kernel).harts[stop.hart].process
                    registers = trapframe(g.kernel, process) if process else None
                    if process and registers:
                        roles = {r: registers[f"a{i}"] for i, r in enumerate(order)}
                        pids = {roles.get(r, process.pid) for r in ("src", "dst")}
                        text = ", ".join(f"{r} {v:#x}" for r, v in roles.items())
                        calls.append((len(pids) == 1, f"pid {process.pid} maps: {text}"))
        except Lost:
            return []
    return [text for _, text in calls] if calls and all(same for same, _ in calls) else []


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
    Probe(
        "hollow tests",
        ("T1",),
        ("map", "test1"),
        hollow_tests,
        stage=3,
        observable=False,
        scene=one_run,
    ),
]
