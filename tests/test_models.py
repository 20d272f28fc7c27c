"""The shell against Debian's, and grep against python's re: random input to both, on the host.

Our sources run as they are, under the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree

SANITIZE = "-g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"


def host_program(folder: Path, name: str) -> Path:
    """Builds user/NAME.c for the host in `folder`."""
    lines = (tree.ROOT / "user" / f"{name}.c").read_text().splitlines()
    source = folder / f"{name}.c"
    source.write_text("\n".join("" if line.startswith("#include") else line for line in lines))
    out = folder / name
    define = f'-DPROGRAM="{source}"'
    shim = tree.ROOT / "tests" / "program_host.c"
    subprocess.run(["cc", *SANITIZE.split(), f"-I{tree.ROOT}", define, "-o", out, shim], check=True)
    return out


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our shell on the host."""
    return host_program(tmp_path_factory.mktemp("shell"), "sh")


@pytest.fixture(scope="module")
def grep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our grep on the host."""
    return host_program(tmp_path_factory.mktemp("grep"), "grep")


class Lines:
    """Random command lines whose outcome does not depend on who runs first.

    So inside a pipeline nothing is written to files.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.pipes = 0  # pipelines around the place being written
        self.depth = 0  # parentheses around it

    def word(self) -> str:
        """Plain, quoted, with $?, or joined of several."""
        single = ["'a b'", "'|'", "'\"'", "'$?'", "''"]
        double = ['"a b"', '";"', '"\'"', '"$?"', '"(x)"']
        plain = ["a", "b", "foo", "x1", "$?", "x$?y"]
        if self.rng.random() < 0.1:
            return self.word() + self.word()
        return self.rng.choice(self.rng.choice([plain, plain, single, double]))

    def redirection(self) -> str:
        """To or from one of three files, or nothing in a pipeline."""
        if self.pipes:
            return ""
        return self.rng.choice([" < ", ">", " >> ", " >>"]) + self.rng.choice(["f1", "f2", "f3"])

    def stage(self) -> str:
        """A command, or a list in parentheses."""
        kind = self.rng.random()
        if kind < 0.1 and self.depth < 2:
            self.depth += 1
            text = f"( {self.line()})" + self.rng.choice(["", self.redirection()])
            self.depth -= 1
            return text
        if kind < 0.2:
            return f"(exit {self.rng.randrange(5)})"
        if kind < 0.25:
            return "cd " + self.rng.choice(["d1", "..", "."])
        words = [self.rng.choice(["echo", "echo", "cat", "true", "false"])]
        if words[0] == "echo":
            words += [self.word() for _ in range(self.rng.randrange(4))]
        redirections = [self.redirection() for _ in range(self.rng.choice([0, 0, 0, 1, 2]))]
        return " ".join(words) + "".join(redirections)

    def pipeline(self) -> str:
        """One to three stages."""
        stages = self.rng.choice([1, 1, 1, 2, 3])
        self.pipes += stages > 1
        text = self.rng.choice([" | ", "|"]).join(self.stage() for _ in range(stages))
        self.pipes -= stages > 1
        return text

    def line(self) -> str:
        """A whole list."""
        text = self.pipeline()
        for _ in range(self.rng.choice([0, 0, 1, 2])):
            text += self.rng.choice([" && ", "||", ";", "; "]) + self.pipeline()
        return text + self.rng.choice(["", ";"])


def outcome(shell: str | Path, line: str, folder: Path) -> tuple[str, dict[str, bytes], str]:
    """What a line prints, the files it leaves, and its messages, run in a small fresh directory."""
    (folder / "d1").mkdir(parents=True)
    (folder / "f1").write_text("one\n")
    (folder / "d1" / "f2").write_text("deep\n")
    done = subprocess.run(
        [shell, "-c", line],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return done.stdout, files, done.stderr


def test_shell_does_what_dash_does(shell: Path, tmp_path: Path) -> None:
    """200 random lines; the two may differ only in the status of what could not be opened."""
    lines = Lines(seed=3)
    compared = 0
    for number in range(200):
        line = lines.line()
        ours = outcome(shell, line, tmp_path / f"ours{number}")
        assert "Sanitizer" not in ours[2] and "runtime error" not in ours[2], line
        if "cannot open" in ours[2] or "cannot cd" in ours[2] or "too many" in ours[2]:
            continue
        assert ours[:2] == outcome("dash", line, tmp_path / f"dash{number}")[:2], line
        compared += 1
    assert compared > 100


def test_shell_survives_garbage(shell: Path, tmp_path: Path) -> None:
    """Random tokens: run or refused, never a crash; a refusal is one line."""
    rng = random.Random(4)
    tokens = ["(", ")", ";", "&", "|", "<", ">", "'", '"', "#", " ", "a", "$?", "echo ", "&&", "\\"]
    for _ in range(300):
        line = "".join(rng.choices(tokens, k=rng.randrange(30)))
        done = subprocess.run(
            [shell, "-c", line], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True
        )
        assert done.returncode in range(128), (line, done.stderr)
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, line


def random_pattern(rng: random.Random) -> tuple[str, str]:
    """A pattern for grep, and the same for python's re."""
    atoms = {"a": "a", "b": "b", "+": r"\+", "?": r"\?", ".": ".", "[ab]": "[ab]", "[a-c]": "[a-c]"}
    atoms |= {"[^a-c]": "[^a-c]", "[]a]": r"[\]a]", "[b-]": r"[b\-]", "[^^]": r"[^\^]"}
    atoms |= {"\\" + c: re.escape(c) for c in ".*[a$^\\"}
    ours = theirs = ""
    for atom in rng.choices(list(atoms), k=rng.randrange(6)):
        star = rng.choice(["", "", "*"])
        ours += atom + star
        theirs += atoms[atom] + star
    start, end = rng.choice(["", "", "^"]), rng.choice(["", "", "$"])
    return start + ours + end, start + theirs + end


def test_grep_matches_what_re_matches(grep: Path) -> None:
    """400 random patterns on random lines."""
    rng = random.Random(5)
    for _ in range(400):
        ours, theirs = random_pattern(rng)
        lines = ["".join(rng.choices("abc+.[]*x-$^\\?", k=rng.randrange(8))) for _ in range(30)]
        text = "\n".join(lines) + "\n"
        done = subprocess.run([grep, ours], input=text, capture_output=True, text=True)
        assert done.stdout.splitlines() == [s for s in lines if re.search(theirs, s)], ours
        assert done.stderr == ""
