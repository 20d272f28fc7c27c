"""Writes the assignment to hand out: this tree with the solution cut out along its seams.

A seam is marked in the source by lines of their own: `// solution {`, then the solution, then
`// } skeleton {`, then what takes its place with `// ` before each line, then `// } end`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent
SEAM = re.compile(r"^// solution \{\n.*?^// \} skeleton \{\n(.*?)^// \} end\n", re.M | re.S)
LEFT_OUT = ("tests/mutants/", "tests/test_submit.py")  # they show what the solution looks like


def cut(text: str) -> tuple[str, int]:
    """The text with every solution replaced by its skeleton, and how many there were."""

    def replace(seam: re.Match[str]) -> str:
        return "".join(re.sub(r"^// ?", "", line) for line in seam[1].splitlines(True))

    return SEAM.subn(replace, text)


def write(out: Path) -> int:
    """Copies the tracked files to `out`, a new folder; the number of seams cut."""
    out.mkdir(parents=True)
    listing = ["git", "ls-files", "-z"]
    done = subprocess.run(listing, cwd=TREE, check=True, capture_output=True, text=True)
    seams = 0
    for name in filter(None, done.stdout.split("\0")):
        source, target = TREE / name, out / name
        if name.startswith(LEFT_OUT) or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        if source.suffix in (".c", ".h") and name.startswith(("kernel/", "user/")):
            text, count = cut(source.read_text(encoding="utf-8"))
            if count:
                target.write_text(text, encoding="utf-8")
                seams += count
    return seams


def main() -> int:
    """`skeleton.py OUT`; exit status 0, or 2 if it cannot be written."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        print("skeleton: say where: make skeleton OUT=DIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    if out.exists():
        print(f"skeleton: {out} exists already", file=sys.stderr)
        return 2
    try:
        print(f"{out}: the assignment, {write(out)} seams cut")
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skeleton: {out}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
