"""The shell as a user meets it at the console, and as scripts do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.harness import image
from tests.harness.guest import PROMPT, Boot, Guest


def transcript(guest: Guest, expected: dict[str, str]) -> None:
    """Runs the commands in order and compares what all of them printed with what they should."""
    printed = {command: guest.run(command, status=None) for command in expected}
    assert printed == expected


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_pipelines_and_redirection(boot: Boot, cpus: int) -> None:
    """Data flows through pipes and files; >> really appends; the last stage's status counts."""
    transcript(
        boot(cpus=cpus),
        {
            "echo hello world": "hello world\n",
            "echo a b | cat | cat | wc": "1 2 4 \n",
            "echo one > f; cat < f": "one\n",
            "echo two >> f; echo three >> f; cat f": "one\ntwo\nthree\n",
            "echo short > f; cat f": "short\n",
            "echo new >> g; cat g": "new\n",
            "> empty; wc empty": "0 0 0 empty\n",
            "cat < f | cat > h; cat h": "short\n",
            "< f cat": "short\n",
            "echo a>f;cat<f": "a\n",
            "echo to the console >> console": "to the console\n",
            "(echo 1; echo 2) | wc": "2 2 4 \n",
            "(cat; echo after) < h > i; cat i": "short\nafter\n",
            "(exit 3) | (exit 4); echo $?": "4\n",
            "(exit 3) | echo fine; echo $?": "fine\n0\n",
            "cat < nosuch; echo $?": "sh: cannot open nosuch\n1\n",
            "cat f > nodir/f; echo $?": "sh: cannot open nodir/f\n1\n",
            "echo lost | nosuch; echo $?": "sh: exec nosuch failed: not found\n127\n",
        },
    )


def test_lists_and_conditions(boot: Boot) -> None:
    """; and & separate, && and || choose, parentheses group and keep their cd to themselves."""
    guest = boot()
    transcript(
        guest,
        {
            "echo a; echo b;": "a\nb\n",
            ";".join(["echo x"] * 12): "x\n" * 12,
            "echo a && echo b || echo c": "a\nb\n",
            "(exit 1) && echo b || echo c": "c\n",
            "(exit 1) || (exit 2) || echo $?": "2\n",
            "((((((echo deep))))))": "deep\n",
            "mkdir d && (cd d; echo in > f); cat d/f f": "in\ncat: cannot open f\n",
            "cd d; cat f; cd ..; cat d/f": "in\nin\n",
            "(echo grouped; exit 5); echo $?": "grouped\n5\n",
            "sleep 100000 & echo on": "on\n",
            "": "",
            "   # only a comment": "",
            "echo a#b # c": "a#b\n",
        },
    )
    rows = [row.split() for row in guest.run("ps").splitlines()]
    sleepers = [row for row in rows if row[-1] == "sleep"]
    assert [row[1] for row in sleepers] == ["1"], "what runs behind & is init's child"
    guest.run(f"kill {sleepers[0][0]}")


def test_words(boot: Boot) -> None:
    """Quotes keep blanks and operators, $? is the last status but for '...', and words join."""
    transcript(
        boot(),
        {
            "echo 'a  b'   \"c | d\" ';&()<>#'": "a  b c | d ;&()<>#\n",
            'echo \'it is "so"\' "it\'s"': 'it is "so" it\'s\n',
            "echo a'b'\"c\"d ''": "abcd \n",
            "(exit 7); echo $? '$?' \"$?\" $?x$? $ $x": "7 $? 7 7x7 $ $x\n",
            "grep '^# xv6' README": "# xv6-glass\n",
            "'ec'ho program": "program\n",
        },
    )


BAD_LINES = {
    "| x": 'sh: unexpected "|"\n',
    "x |": "sh: the line ends too early\n",
    "x && ; y": 'sh: unexpected ";"\n',
    "x ;; y": 'sh: unexpected ";"\n',
    "x & & y": 'sh: unexpected "&"\n',
    "x (y)": 'sh: unexpected "("\n',
    "(x) y": 'sh: unexpected "y"\n',
    "(x) > f y": 'sh: unexpected "y"\n',
    "()": 'sh: unexpected ")"\n',
    "(x": "sh: the line ends too early\n",
    "x)": 'sh: unexpected ")"\n',
    "x >": "sh: the line ends too early\n",
    "x > > y": 'sh: unexpected ">"\n',
    "x 'y": "sh: a quote is not closed\n",
    "(((((((x)))))))": "sh: too many nested parentheses\n",
    "x" + " x" * 31: "sh: a command takes at most 31 words\n",
}


def test_nothing_of_a_wrong_line_runs(boot: Boot) -> None:
    """A line is checked whole: one message, status 2, and not even its right part has run."""
    guest = boot()
    for line, message in BAD_LINES.items():
        assert guest.run(f"echo ran; {line}", status=None) in (message, "ran\n" + message), line
        assert guest.run(line, status=2) == message
    assert guest.run("echo ran > f; | x", status=2) == 'sh: unexpected "|"\n'
    assert guest.run("cat f", status=1) == "cat: cannot open f\n"


def test_programs_and_directories(boot: Boot) -> None:
    """Programs are found from every directory; what cannot be run says why."""
    transcript(
        boot(),
        {
            "mkdir d; cd d; echo still found": "still found\n",
            "../echo up": "up\n",
            "cd nosuch; echo $?": "sh: cannot cd nosuch\n1\n",
            "cd; cat d/nosuch; echo $?": "cat: cannot open d/nosuch\n1\n",
            "cd README": "sh: cannot cd README\n",
            "cd d > e; echo in > g; cd ..; cat d/g e": "in\n",
            "nosuch; echo $?": "sh: exec nosuch failed: not found\n127\n",
            "d": "sh: exec d failed: not a file\n",
            "README": "sh: exec README failed: not a program, or out of memory\n",
            "> f; f": "sh: exec f failed: not a program, or out of memory\n",
            "''": "sh: exec  failed: not a file\n",
        },
    )


SCRIPT = b"""# a script
echo begin $?
cat
(exit 6)
echo $? 'of the line before'
exit 9
echo never
"""


def test_scripts(boot: Boot, tmp_path: Path) -> None:
    """A script runs from a file, by redirection and through a pipe, without prompts."""
    for name, content in {"script": SCRIPT, "data": b"data\n", "last": b"echo no newline"}.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in ("script", "data", "last")]
    guest = boot(image=image.make(tmp_path, files=files))
    assert guest.run("sh script < data", status=9) == "begin 0\ndata\n6 of the line before\n"
    rest = "(exit 6)\necho $? 'of the line before'\nexit 9\necho never\n"
    assert guest.run("sh < script") == "begin 0\n" + rest, "cat shall get the rest of the input"
    assert guest.run("cat script | sh") == "begin 0\n" + rest
    assert guest.run("sh last; cat last | sh") == "no newline\nno newline\n"
    assert guest.run("sh -c 'echo $?; exit 3'", status=3) == "0\n"
    assert guest.run("sh nosuch", status=127) == "sh: cannot open nosuch\n"
    assert guest.run("sh a b", status=2).startswith("usage: sh")


def test_long_lines(boot: Boot, tmp_path: Path) -> None:
    """The longest line works; longer ones are refused whole, and the next one runs."""
    longest = b"echo " + b"x" * 1018
    lines = [
        longest,
        longest + b"y",
        b"z" * 5000,
        b"echo $?",
        b"echo " + b"; " * 20,
        b";".join([b"echo a"] * 140),
    ]
    (tmp_path / "script").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "grow").write_bytes(b"(exit 1234567890)\necho " + b"$?" * 500 + b"\necho $?\n")
    guest = boot(image=image.make(tmp_path, files=[tmp_path / "script", tmp_path / "grow"]))
    refused = "sh: line longer than 1023 bytes ignored\n"
    expected = "x" * 1018 + "\n" + 2 * refused + "2\n"
    expected += 'sh: unexpected ";"\n' + "sh: too many words in a line\n"
    assert guest.run("sh < script", status=2) == expected
    assert guest.run("sh script", status=2) == expected
    assert guest.run("sh grow") == "sh: arguments too long\n2\n"


def test_many_words(boot: Boot) -> None:
    """A command gets as many words as the kernel passes on, and not one more."""
    guest = boot()
    assert guest.run("echo" + " x" * 30) == "x " * 29 + "x\n"
    message = "sh: a command takes at most 31 words\n"
    assert guest.run("echo" + " x" * 31, status=2) == message
    assert guest.run("cd" + " x" * 31, status=2) == message


def type_until_it_works(guest: Guest) -> set[str]:
    """Types a pipeline until it works; returns the lines that came instead before that."""
    command = "echo alive | cat | cat"
    instead: set[str] = set()
    deadline = time.monotonic() + guest.timeout
    while time.monotonic() < deadline:
        start = len(guest.console)
        guest.keys(f"{command}\n")
        guest.expect(r"\n\$ $")
        lines = guest.console[start:].splitlines()[1:-1]
        if lines == ["alive"]:
            return instead
        instead.update(lines)
    raise guest.fail("the shell runs nothing any more")


def test_out_of_processes(boot: Boot, tmp_path: Path) -> None:
    """With the process table full the shell says so and goes on until there is room again."""
    (tmp_path / "crowd").write_bytes(b"sleep 30 &\n" * 70 + b"echo x | cat | cat\necho end\n")
    guest = boot(image=image.make(tmp_path, files=[tmp_path / "crowd", image.PROGRAMS / "sleep"]))
    guest.keys("sh crowd\n")
    guest.expect(r"cannot fork")
    guest.expect(PROMPT)
    allowed = {"sh: cannot fork: out of processes or memory", "cat: cannot write standard input"}
    assert type_until_it_works(guest) <= allowed
    while any(line.endswith(" sleep") for line in guest.run("ps").splitlines()):
        pass


@pytest.mark.parametrize("cpus", [1, 3])
def test_out_of_memory(boot: Boot, tmp_path: Path, cpus: int) -> None:
    """Whatever step of a command finds no frame: it fails with a message, the shell lives on."""
    guest = boot(image=image.make(tmp_path, ["hog"]), cpus=cpus, debug=True, mem="16M")
    refused = 0
    for pages in range(0, 24, 2):
        guest.keys(f"hog 5 {pages} &\n")
        guest.expect(r"hog has \d+ pages")
        guest.keys("\n")
        guest.expect(r"\$ $")
        refused += bool(type_until_it_works(guest))
        while guest.run("ps", status=None).count(" hog\n") or guest.status != 0:
            pass
    assert refused > 3
    rows = [row.split() for row in guest.run("ps").splitlines()]
    assert [row[0] for row in rows if row[-1] == "sh"] == ["3"], "the shell of the beginning"
