"""The small programs at the prompt, init, and what programs written for xv6 see of the library."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.harness import image, tree
from tests.harness.guest import PROMPT, Boot, Guest


def transcript(guest: Guest, expected: dict[str, tuple[int, str]]) -> None:
    """Runs the commands in order and compares status and output of all with what they should be."""
    printed: dict[str, tuple[int, str]] = {}
    for command in expected:
        output = guest.run(command, status=None)
        printed[command] = (guest.status, output)
    assert printed == expected


def test_files_and_names(boot: Boot) -> None:
    """cat, echo, ln, rm, mkdir, wc and cmp do their work, and say what they cannot do."""
    transcript(
        boot(),
        {
            "echo": (0, "\n"),
            "echo one two > f; cat f": (0, "one two\n"),
            "cat f - f": (1, "one two\ncat: cannot open -\none two\n"),
            "cat < f": (0, "one two\n"),
            "cat nosuch f; echo $?": (0, "cat: cannot open nosuch\none two\n1\n"),
            "ln f g; cat g; rm f; cat g": (0, "one two\none two\n"),
            "ln nosuch h": (1, "ln: cannot link h to nosuch\n"),
            "ln a": (2, "usage: ln old new\n"),
            "rm g nosuch": (1, "rm: cannot remove nosuch\n"),
            "rm": (2, "usage: rm file...\n"),
            "mkdir d d d/e": (1, "mkdir: cannot make d\n"),
            "rm d": (1, "rm: cannot remove d\n"),
            "rm d/e d": (0, ""),
            "mkdir": (2, "usage: mkdir directory...\n"),
            "echo 1 2 > e; echo 3 >> e; wc e e": (0, "2 3 6 e\n2 3 6 e\n"),
            "wc < e": (0, "2 3 6 \n"),
            "wc nosuch": (1, "wc: cannot open nosuch\n"),
            "echo abc > a; echo abd > b; cmp a b": (1, "a b differ at byte 2: 0x63 0x64\n"),
            "cmp a a": (0, ""),
            "> c; cmp a c": (1, "c ends after 0 bytes, a does not\n"),
            "echo abc > c; echo d >> c; cmp a c": (1, "a ends after 4 bytes, c does not\n"),
            "cmp a nosuch": (2, "cmp: cannot open nosuch\n"),
            "cmp a": (2, "usage: cmp file file\n"),
            "echo x | sleep": (2, "usage: sleep ticks\n"),
            "sleep 1; sync": (0, ""),
        },
    )


def test_ls(boot: Boot) -> None:
    """A directory's files or one file, with type, inode number and size; the columns stand."""
    guest = boot()
    guest.run("mkdir d; echo hello > d/file; echo x > d/fourteen_chars")
    lines = guest.run("ls d").splitlines()
    assert [line[:14].rstrip() for line in lines] == [".", "..", "file", "fourteen_chars"]
    rows = [line[15:].split() for line in lines]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert rows[2][2] == "6" and rows[0][1] != rows[1][1]
    assert guest.run("ls d/file").split() == ["d/file", *rows[2]]
    assert guest.run("cd d; ls").splitlines() == lines
    assert re.search(r"^console +3 \d+ 0$", guest.run("ls /"), re.M)
    assert guest.run("ls nosuch file", status=1).startswith("ls: cannot open nosuch\nfile ")


GREP_LINES = b"""apple
banana
xv6-glass
a.b
a+b
[x]
last line without newline"""


def test_grep(boot: Boot, tmp_path: Path) -> None:
    """Patterns, options and exit status; lines of any length; no pattern takes for ever."""
    (tmp_path / "t").write_bytes(GREP_LINES)
    (tmp_path / "long").write_bytes(b"x" * 9999 + b"END\n" + b"a" * 5000 + b"\nEND\n")
    files = [tmp_path / "t", tmp_path / "long", image.PROGRAMS / "grep"]
    guest = boot(image=image.make(tmp_path, files=files))
    transcript(
        guest,
        {
            "grep an t": (0, "banana\n"),
            "grep ^a t": (0, "apple\na.b\na+b\n"),
            "grep e$ t": (0, "apple\nlast line without newline\n"),
            "grep ^a.b$ t": (0, "a.b\na+b\n"),
            "grep 'a\\.b' t": (0, "a.b\n"),
            "grep a+b t": (0, "a+b\n"),
            "grep '^[a-c]*$' t": (1, ""),
            "grep '^[abn]*$' t": (0, "banana\n"),
            "grep '[^a-z]' t": (
                0,
                "xv6-glass\na.b\na+b\n[x]\nlast line without newline\n",
            ),
            "grep '[]]' t": (0, "[x]\n"),
            "grep 'x*v' t": (0, "xv6-glass\n"),
            "grep b*an t": (0, "banana\n"),
            "grep -c '' t": (0, "7\n"),
            "grep -n apple t t": (0, "1:apple\n1:apple\n"),
            "grep -vc a t": (0, "1\n"),
            "grep -q apple t": (0, ""),
            "grep nothing t": (1, ""),
            "cat t | grep glass": (0, "xv6-glass\n"),
            "grep a nosuch t | wc": (0, "grep: cannot open nosuch\n6 9 57 \n"),
            "grep a nosuch": (2, "grep: cannot open nosuch\n"),
            "grep '[a' t": (2, "grep: no ] in pattern [a\n"),
            "grep -x a t": (2, "grep: unknown option -x\n"),
            "grep": (2, "usage: grep [-cnqv] pattern [file...]\n"),
            "grep END long | wc": (0, "2 2 10007 \n"),
            "grep a*a*a*a*a*a*a*a*b long": (1, ""),
        },
    )


def test_processes(boot: Boot) -> None:
    """ps lists every process with its parent; kill ends one, or says there is none."""
    guest = boot()
    guest.run("sleep 100000 &")
    deadline = time.monotonic() + guest.timeout
    rows: list[list[str]] = []
    while not any(row[2] == "sleeping" and row[-1] == "sleep" for row in rows):
        # The prompt comes back before what runs in the background has come to its call.
        assert time.monotonic() < deadline, rows
        rows = [line.split() for line in guest.run("ps").splitlines()]
    assert rows[0] == ["PID", "PARENT", "STATE", "HART", "SIZE", "PAGES", "SHARED", "NAME"]
    by_name = {row[-1]: row for row in rows[1:]}
    assert {"init", "crypto_srv", "sh", "ps", "sleep"} == set(by_name)
    assert by_name["init"][0] == "1" and by_name["ps"][1] == by_name["sh"][0]
    assert by_name["ps"][2] == "running"
    assert all(int(size) > 0 and int(pages) > 0 for *_, size, pages, _, _ in rows[1:])
    transcript(
        guest,
        {
            f"kill {by_name['sleep'][0]}": (0, ""),
            f"kill {by_name['sleep'][0]} x": (
                1,
                f"kill: no process {by_name['sleep'][0]}\nkill: no process x\n",
            ),
            "kill": (2, "usage: kill pid...\n"),
        },
    )


def test_free(boot: Boot) -> None:
    """Total is used and free; bytes are frames times 4096; -q gives the free frames alone."""
    guest = boot()
    rows = {row[0]: row[1:] for row in map(str.split, guest.run("free").splitlines()[1:])}
    frames = {name: int(row[0]) for name, row in rows.items()}
    assert set(frames) == {"total", "used", "free", "shared"}
    assert frames["total"] == frames["used"] + frames["free"]
    assert all(int(row[1]) == int(row[0]) * 4096 for row in rows.values())
    assert int(guest.run("free -q")) == frames["free"]
    assert guest.run("free -x", status=2) == "usage: free [-q]\n"


def test_init_reaps_and_restarts(boot: Boot) -> None:
    """Orphans vanish; a shell that ends, by exit or ^D, is followed by another."""
    guest = boot()
    guest.run("zombie")
    assert " zombie" not in guest.run("ps")
    for end in ("exit\n", "\x04"):
        guest.keys(end)
        guest.expect("init: starting sh")
        guest.expect(PROMPT)
        assert guest.run("echo back") == "back\n"


def test_killed_by_a_fault(boot: Boot, tmp_path: Path) -> None:
    """One line says who was killed, where and why: a wrong access, or no memory for a right one."""
    guest = boot(image=image.make(tmp_path, ["hog", "wild"]), mem="16M")
    what = r"\n?{}: pid \d+ {}, pc 0x[0-9a-f]+, address {}: killed\n"
    assert re.fullmatch(
        what.format("store page fault", "wild", "0x3fffffffff"), guest.run("wild", status=-1)
    )
    assert re.fullmatch(
        what.format("out of memory", "hog", "0x[0-9a-f]+"), guest.run("hog lazy", status=-1)
    )


def test_shutdown_saves_and_powers_off(boot: Boot, tmp_path: Path) -> None:
    """After shutdown QEMU has ended by itself, and the files are there at the next boot."""
    copy = tree.copy_image(tree.IMAGE, tmp_path / "kept.img")
    guest = boot(image=copy)
    guest.run("echo kept > f")
    guest.keys("shutdown\n")
    assert guest.wait() == 0
    assert boot(image=copy).run("cat f") == "kept\n"


INTERFACE_2022 = """interface_2022 14 11
-7 beef 0x[0-9a-f]{16} text c %
18446744073709551615 and 1024
1 13 21 64
grown 1: 8192
shrunk: 4096
not shrunk below zero: 1
no room: 1
top of memory 0x0000004000000000, page 4096
type 1 links 1 size 5
entries 1, unlink 0, again -1
console: major 1, type 1
pipe 6 child, waited 1, status 3
killed -1
slept 1
"""

INTERFACE_2025 = """-1099511627776 18446744073709551615 ffffffffffffffff
-1099511627776 18446744073709551615 ffffffffffffffff
2147483648 1 22
1 2 30 1
lazy 1, zero 0
shrunk 1
eager 1
no room 1
pause 0 0
paused 1
fsync 0, unlink 0
"""


def test_programs_of_both_generations(boot: Boot, tmp_path: Path) -> None:
    """Sources in the style of xv6 2022 and 2025 compile unchanged and see what they expect."""
    guest = boot(image=image.make(tmp_path, ["interface_2022", "interface_2025"]))
    assert re.fullmatch(INTERFACE_2022, guest.run("interface_2022"))
    assert guest.run("interface_2025", status=17) == INTERFACE_2025
