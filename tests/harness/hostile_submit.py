"""What the readers of tools/submit are given to read by a tree that means ill, damaged from a seed like hostile.py's:
archives, trees, build logs, programs, a kernel and its memory, the console, results of a batch.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

from tests.guest.image import Image
from tests.harness import mutate
from tests.harness.hostile import Reader, guest
from tools.guest.elf import Elf
from tools.guest.kernel import Kernel
from tools.guest.memory import GuestError
from tools.guest.stack import kernel_frames
from tools.submit import batch
from tools.submit import build as building
from tools.submit import check, report, sandbox
from tools.submit import tree as trees
from tools.submit.code import fetched, functions_of, reaches
from tools.submit.findings import CATALOGUE, Finding, Report, docs_page
from tools.submit.hooks import HOOKS, LOCKS, Moment, State, arguments_of, present
from tools.submit.look import Look
from tools.submit.machine import Machine
from tools.submit.session import Session
from tools.submit.systemcalls import Numbers, numbers

NUMBERS = {"map_shared_pages": 22, "crypto_op": 24, "exit": 2}
WORDS = [
    b"error: ",
    b"user/x.c:1:2: ",
    b"\x1b[31m",
    b"\0",
    b"\xff\xfe",
    b"\r\n",
    b"]]>",
    b"&<\"'",
    b"\xe2\x80\xae",
]


def noise(rng: random.Random, size: int) -> bytes:
    """Words that mean something to a reader, among bytes that do not."""
    out = b""
    while len(out) < size:
        out += rng.choice(WORDS) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 30))
    return out


def stranger(folder: Path, rng: random.Random) -> Kernel:
    """A guest whose memory, and now and then whose kernel file, is damaged; GuestError if that is refused."""
    image = guest(folder)
    places = [(s.paddr - 0x8000_0000, s.memsz) for s in image.elf.segments] + [(1 << 20, 1 << 17)]
    image.ram[:] = mutate.damaged(bytes(image.ram), rng, places).ljust(len(image.ram), b"\0")
    if rng.random() < 0.7:
        return image.kernel
    path = folder / "lies"
    path.write_bytes(mutate.damaged(image.path.read_bytes(), rng))
    return Kernel(Elf(str(path)), image.memory)


def looked_into(folder: Path, rng: random.Random) -> None:
    """submit's look into a stopped guest."""

    def run() -> None:
        look = Look(stranger(folder, rng), locks=True)
        for pid in (*look.pages, 1, 2, rng.choice(mutate.NASTY)):
            look.page(pid, rng.choice(mutate.NASTY))
            look.state(pid), look.shared(pid), look.above_size(pid)
        [str(page) for _, page in look.free_but_mapped()]

    mutate.judged(run, GuestError)


def hooked(folder: Path, rng: random.Random) -> None:
    """What breakpoints make of a kernel whose registers and memory are noise."""

    def some() -> int:
        return rng.choice(
            [*mutate.NASTY, rng.getrandbits(64), 0x8000_0000 + rng.randrange(1 << 22)]
        )

    def run() -> None:
        kernel = stranger(folder, rng)
        state = State(kernel, Numbers(NUMBERS), present(kernel))
        slots = kernel.records("proc")
        for hook in (*HOOKS.values(), *LOCKS.values()):
            process = rng.choice([None, *slots, state.process(some())])
            moment = Moment(state, process, [some() for _ in range(8)], some(), some(), some())
            for step in (hook.enter, hook.leave, lambda m: arguments_of(m, 22)):

                def told() -> None:
                    if hook.keep:
                        moment.before = hook.keep(moment)
                    for _, values in step(moment) if step else ():
                        assert all(isinstance(v, (int, bytes)) for v in values)

                mutate.judged(told, GuestError)
        kernel_frames(kernel, None, {"pc": some(), "s0": some(), "sp": some(), "ra": some()})

    mutate.judged(run, GuestError)


def console(folder: Path, rng: random.Random) -> None:
    """What a guest prints: answers of the agent's, forged, torn and among noise."""
    kernel = guest(folder).kernel
    lines = [b"@aa 0 0001 %016x %s $" % (rng.getrandbits(64), rng.randbytes(4).hex().encode())]
    lines += [b"panic: " + noise(rng, 40), b"sepc=%x" % rng.getrandbits(70), b"pid 1 dies"]
    printed = mutate.damaged(b"\r\n".join([*lines, noise(rng, 200), *lines]), rng)
    machine = SimpleNamespace(console=printed, pause=lambda: None, registers=lambda: [])
    machine.panic = cast(property, Machine.panic).fget(machine)  # type: ignore[misc]
    session = Session.__new__(Session)
    session.machine, session.kernel, session.nonce = cast(Machine, machine), kernel, "aa"
    session.sent = {0: (rng.choice([1, 2]), rng.randrange(len(printed) + 1))}
    session.answered(0)
    session.backtrace()
    session._interrupted(kernel.elf)
    for line in [*session.talk, machine.panic or ""]:
        assert line.isprintable(), line


def archive(folder: Path, rng: random.Random) -> None:
    """A zip file: its directory, its entries, names that lead elsewhere."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as z:
        for name in ("x/Makefile", "x/kernel/a.c", "x/kernel/b.h", "x/user/u.c"):
            z.writestr(name, b"int map_shared_pages;\r\n" * 9)
        for name in rng.sample(
            ["../out", "/abs", "x", "x/kernel", "a\0b", "x/" + "n" * 300, "C:\\y"], 2
        ):
            z.writestr(name, b"elsewhere")
    data = packed.getvalue()
    file, target = folder / "hand-in.zip", folder / "copy"
    file.write_bytes(
        mutate.damaged(data, rng, [(len(data) // 2, len(data) // 2), (0, len(data) // 2)])
    )
    before = {p for p in folder.iterdir()}
    mutate.judged(lambda: trees.copy(file, target), GuestError)
    left = {p for p in folder.iterdir()} - before
    assert left <= {target, folder / "copy.zip"}, left
    for path in left:
        shutil.rmtree(path)


def built_tree(folder: Path, rng: random.Random) -> None:
    """What a build leaves behind: programs that are none, links, pipes, folders where files should be."""
    image = Image(folder)
    root = folder / "tree"
    for name in ("user", "kernel", "mkfs"):
        (root / name).mkdir(parents=True)
    (root / "Makefile").write_bytes(noise(rng, 200))
    (root / "kernel/types.h").write_bytes(rng.choice([b"", b'asm("\xff");', noise(rng, 50)]))
    calls = [b"#define SYS_%s %d" % (n.encode(), i) for i, n in enumerate(NUMBERS)]
    (root / "kernel/syscall.h").write_bytes(mutate.damaged(b"\n".join(calls), rng))
    for name in ("user/_crypto_srv", "user/_sh", "user/_x", "_y", ".numbers.c", "fs.img"):
        path, kind = root / name, rng.randrange(6)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.symlink_to(
                rng.choice([Path("/dev/zero"), Path("/nowhere"), folder / "elsewhere", path])
            )
        else:
            path.write_bytes(mutate.damaged(image.path.read_bytes(), rng, [(0, 64)]))
    (folder / "elsewhere").write_bytes(b"not yours")
    tree = trees.Tree(root, root)
    sandbox.defuse(root)
    built = building.Build(tree, building.toolchain(), root / "kernel/kernel")
    built.programs = building.programs_of(root)

    def run() -> None:
        for path in built.programs.values():
            code = functions_of(built.prefix, path)
            for name in code:
                fetched(code, name)
                reaches(code, name, {"walk"})
            mutate.judged(lambda: Elf(str(path)), GuestError)
        building._drop_werror(tree)
        numbers(built)

    mutate.judged(run, GuestError)
    assert (folder / "elsewhere").read_bytes() == b"not yours"
    shutil.rmtree(root)


def build_log(folder: Path, rng: random.Random) -> None:
    """What make prints; every form of the report must stay readable, also to a terminal and to an XML parser."""
    log = mutate.damaged(b"gcc -c x\nuser/x.c:3:4: error: " + noise(rng, 300), rng)
    text = log.decode("utf-8", "replace")
    tree = trees.Tree(folder, folder)
    built = building.Build(tree, attempts=[building.judge("gcc", sandbox.Result(2, text))])
    result = Report("tree", notes=[text[:50]])
    check._judge_build(built, result)
    made = report.text(result)
    assert all(line.isprintable() for line in made.splitlines()), repr(made)
    json.loads(report.as_json(result))
    ElementTree.fromstring(report.junit(result))
    report.as_html(result)


def some_report(rng: random.Random) -> bytes:
    """A report of a tree, as `check --json` writes it."""
    result = Report("tree")
    for id in rng.sample(sorted(CATALOGUE), 3):
        severity, what, _ = CATALOGUE[id]
        lines = ["one", "two"]
        result.findings.append(
            Finding(id, severity, what, "f", "a.c", 3, lines, "again", docs_page(id), "probe")
        )
    return report.as_json(result).encode()


def batch_results(folder: Path, rng: random.Random) -> None:
    """The files that a batch makes its table of."""
    out = folder / "batch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    rows: list[tuple[str, dict[str, Any]]] = []
    for name in ("a", "b&<c", "d"):
        data = some_report(rng)
        odd: list[Any] = [{}, [], 7, {"findings": 3}, {"findings": [3]}, {"findings": [{"id": []}]}]
        if rng.random() < 0.3:
            data = json.dumps(rng.choice(odd)).encode()
        (out / f"{name}.json").write_bytes(
            mutate.damaged(data, rng) if rng.random() < 0.8 else data
        )
        (out / f"{name}.err").write_bytes(noise(rng, rng.choice([0, 60])))
        rows.append((name, batch.read(out / f"{name}.json", out / f"{name}.err")))
    batch.write_table(out, rows)
    table = (out / "table.csv").read_text("utf-8")
    assert table.count("\n") == 1 + len(rows), table
    assert "<h1>3 trees</h1>" in (out / "index.html").read_text("utf-8")


def rubric(folder: Path, rng: random.Random) -> None:
    """The points that a teacher gives."""
    odd = [[], {"M1": []}, {"M1": 1e999}, {"M1": "x"}, {"M1": None}, 3, {"Z9": 1}]
    data = json.dumps(rng.choice([{"M1": 2, "U1": 3.5}, *odd])).encode()
    path = folder / "rubric.json"
    path.write_bytes(mutate.damaged(data, rng) if rng.random() < 0.7 else data)

    def run() -> None:
        text = report.gradescope(Report("tree"), path)
        json.loads(text, parse_constant=lambda name: 1 / 0)  # NaN and Infinity are no JSON

    mutate.judged(run, GuestError)


READERS: list[Reader] = [
    looked_into,
    hooked,
    console,
    archive,
    built_tree,
    build_log,
    batch_results,
    rubric,
]
