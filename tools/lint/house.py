#!/usr/bin/python3
"""The house's own rules, checked over the whole tree: sizes, headers, arrows between layers.

usage: house.py [TREE]     Prints one line per finding; exit status 0 clean, 1 findings.
Relies on clang-format's layout of C (a function's body ends with `}` in column 0) and on git's list
of files.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 60
SOURCES = {".c", ".h", ".S", ".ld", ".py"}
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:work|root|home/\w+)/|/tmp/\w+/trees|\.\./\.library")
ARROWS = (  # files that start with the prefix never match the pattern
    (
        "kernel/",
        re.compile(r'\btools/|#include "(?:user|mkfs|tools)/'),
        "kernel/ knows nothing of the layers above",
    ),
    (
        "user/",
        re.compile(r'\btools/|#include "(?:mkfs|tools)/'),
        "user/ knows nothing of mkfs/ and tools/",
    ),
    (
        "mkfs/",
        re.compile(r'\btools/|#include "(?:user|tools)/'),
        "mkfs/ knows nothing of user/ and tools/",
    ),
    (
        "tools/guest/",
        re.compile(r"^\s*(?:import|from) (?:gdb|tools\.(?:gdb|trace|submit))\b"),
        "tools/guest stands alone",
    ),
)
Finding = tuple[int, str]


def tracked(tree: Path) -> Iterator[Path]:
    """The tree's files, tracked or about to be, relative to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    for name in sorted(set(filter(None, listing.split("\0")))):
        if (tree / name).is_file():
            yield Path(name)


def is_python(path: Path, text: str) -> bool:
    """Whether the file is Python, by its name or its first line."""
    return path.suffix == ".py" or (not path.suffix and re.match(r"#!.*python3", text) is not None)


def header(path: Path, lines: list[str], python: bool) -> Iterator[Finding]:
    """A file opens with what it holds and relies on."""
    first = next((line for line in lines if line and not line.startswith("#!")), "")
    opening = (
        ('"""', 'r"""') if python else ("//", "/*", "#") if path.suffix == ".S" else ("//", "/*")
    )
    if lines and not first.startswith(opening):
        yield 1, "no header comment that says what the file holds"


def c_functions(lines: list[str]) -> Iterator[Finding]:
    """Functions of C whose bodies are too long."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and re.match(r"\w.*\)\s*\{$", line) or start is None and line == "{":
            start = number
        elif start is not None and line.startswith("}"):
            if number - start + 1 > FUNCTION_LINES:
                yield start, f"function of {number - start + 1} lines, above {FUNCTION_LINES}"
            start = None


def python_functions(text: str) -> Iterator[Finding]:
    """Functions of Python whose bodies are too long."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and node.end_lineno is not None
        ):
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.lineno, f"{node.name}: {length} lines, above {FUNCTION_LINES}"


def findings(tree: Path, path: Path) -> Iterator[Finding]:
    """All that is wrong with one file: line number and text."""
    try:
        text = (tree / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    lines = text.splitlines()
    python = is_python(path, text)
    if path.suffix in SOURCES or python:
        if len(lines) > FILE_LINES:
            yield len(lines), f"{len(lines)} lines, above {FILE_LINES}"
        yield from header(path, lines, python)
    if python:
        yield from python_functions(text)
    elif path.suffix in {".c", ".h"}:
        yield from c_functions(lines)
    for number, line in enumerate(lines, 1):
        if MACHINE_PATH.search(line) and path.name != "house.py":
            yield number, "path of one machine"
        if line.endswith((" ", "\t")) and path.suffix in SOURCES:
            yield number, "white space at the end of the line"
        for prefix, pattern, why in ARROWS:
            if str(path).startswith(prefix) and pattern.search(line):
                yield number, why


def main() -> int:
    """Checks the tree named on the command line, or the one this file is in."""
    tree = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent.parent
    count = 0
    for path in tracked(tree):
        for number, text in findings(tree, path):
            print(f"{path}:{number}: {text}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
