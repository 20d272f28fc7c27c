"""CONTRIBUTING's recipes, carried out in a clone as they stand: built, linted, tested, seen by every tool."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from tests.harness import tree
from tests.harness.guest import Guest
from tests.soak import figure

MINUTES = 10
BLOCK = re.compile(
    r"^    (?://|#) ((?:[\w-]+/)+[\w.-]+)(?:, (.*))?\n((?:(?:    .*)?\n)+?)(?=\S|\n    (?://|#) \w+/)",
    re.M,
)
PYTHON = "/usr/bin/python3"
TESTS = (
    "tests/trace/test_rules.py",
    "tests/test_exercises.py::test_every_mutant_has_its_exercise",
    "tests/test_exercises.py::test_its_command_is_one",
    "tests/test_submit.py::test_mutants_apply",
    "tests/test_submit.py::test_every_id_has_a_mutant",
    "tests/test_submit.py::test_every_id_has_its_page",
    "tests/trace/test_live.py::test_every_event_fires_and_pairs_match",
)


def blocks() -> list[tuple[str, str, str]]:
    """Of the page: the file, where in it, and the lines to add."""
    page = (tree.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page[page.index("## Recipes") : page.index("## Release")] + "\n-"
    found = []
    for file, where, lines in BLOCK.findall(section):
        text = "\n".join(line[4:] for line in lines.rstrip("\n").split("\n"))
        found.append((file, where, text + "\n"))
    return found


def last_row(text: str, table: str, row: str) -> str:
    """text with a row more in a table: a macro's, a list's between brackets, or one of a page's section."""
    indent = "  "
    if macro := re.search(rf"#define {table}\(X\)(?:.*\\\n)+.*\n", text):
        end = macro.end() - 1
        return f"{text[:end]} \\\n{indent}{row.rstrip()}{text[end:]}"
    if section := re.search(rf"^## {table}\n(?:(?!^## ).*\n)*?(?:\|.*\n)+", text, re.M):
        return text[: section.end()] + row + text[section.end() :]
    begun = re.search(rf"^(?:const struct test )?{table}\b.*= ?[\[({{]$", text, re.M)
    assert begun, table
    closing = re.compile(r"^ *{0, 0, 0},\n|^[\])}];?$", re.M).search(text, begun.end())
    assert closing, table
    return text[: closing.start()] + "    " + row + text[closing.start() :]


def add(folder: Path, file: str, where: str, lines: str) -> None:
    """Puts lines where the page says they go."""
    path = folder / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if table := re.fullmatch(r"the last row of (\w+)", where):
        text = last_row(text, table[1], lines)
    elif above := re.fullmatch(r"above (\w+)", where):
        at = re.search(rf"^(?:const struct test )?{above[1]}\b", text, re.M)
        assert at, f"{file}: {where}"
        text = f"{text[: at.start()]}{lines}\n\n{text[at.start() :]}"
    elif first := re.fullmatch(r"first in (\w+)", where):
        text = re.sub(
            rf"(^.*\b{first[1]}\(.*\{{\n)", lambda m: m[1] + "  " + lines, text, flags=re.M
        )
        assert lines in text, f"{file}: {where}"
    else:
        assert not where, where
        text += ("\n\n" if text else "") + lines
    path.write_text(text, encoding="utf-8")


def do(folder: Path, *command: str) -> str:
    """Runs a command that must end well; what it said."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-4000:]}"
    return done.stdout


def run(minutes: float, seed: int) -> None:
    """Carries all of them out once, however long it takes."""
    del minutes, seed
    with tempfile.TemporaryDirectory(prefix="recipes.") as name:
        folder = tree.clone(Path(name) / "tree")
        there = blocks()
        for file, where, lines in there:
            add(folder, file, where, lines)
        figure("blocks of the page", len(there))
        do(folder, "make", "format")
        do(folder, "make", "-j2", "all")
        do(folder, "make", "lint")
        image = tree.copy_image(folder / "fs.img", Path(name) / "fs.img")
        with Guest(image, kernel=folder / "kernel" / "kernel") as guest:
            assert guest.run("harts") == "3 harts\n"
            assert "hart_count: OK" in guest.run("usertests hart_count")
            assert re.search(r"counted +harts=3", guest.run("shmtrace harts"))
            inspect = (
                "tools/gdb/xv6-inspect",
                "--kernel",
                "kernel/kernel",
                "--ram",
                str(guest.ram),
            )
            assert re.search(r"HART +RUNS\n +0 ", do(folder, *inspect, "harts"))
        trace = str(folder / "run.xt")
        do(folder, "tools/trace/xv6-trace", "record", "-o", trace, "--", "harts")
        assert "sane-count" in do(folder, "tools/trace/xv6-trace", "check", trace)
        assert "counted" in do(folder, "tools/trace/xv6-trace", "show", trace, "-e", "counted")
        do(folder, PYTHON, "-m", "pytest", "-q", "-n0", *TESTS)
        figure("program, event, command and rule", "seen")
        do(folder, "tools/submit/submit", "check", ".", "--only", "M9")
        do(folder, PYTHON, "-m", "tests.mutants", "M9")
        figure("probe", "finds the mutant, and nothing in the tree")
