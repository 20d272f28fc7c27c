"""The pages of docs/ and the README: every command they show is carried out, every link leads somewhere.

A command is an indented line: `$ ` is typed at the guest's prompt, `(gdb) ` in a gdb that holds a guest,
`make` and `tools/` on the host. What a page shows in passing but another test carries out is listed in ELSEWHERE.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.gdb.test_live import free_port
from tests.harness import tree
from tests.harness.guest import Boot, Guest
from tools.docs.drawing.session import PROMPT, gdb

PAGES = sorted([tree.ROOT / "README.md", *(tree.ROOT / "docs").rglob("*.md")])
ELSEWHERE = {  # what starts with this: where it is carried out
    "make qemu-gdb": "tests/gdb/",
    "make gdb": "tests/gdb/",
    "make qemu": "tests/test_run.py",
    "make test": ".ci/run",
    "make soak": "tests/soak",
    "make bench": "tests/test_bench.py",
    "make check": "tests/test_submit.py",
    "make trace": "tests/trace/",
    "make mutant": "tests/test_exercises.py",
    "tests/fresh": "tests/fresh",
    "make record": "tests/gdb/test_replay.py",
    "make replay": "tests/gdb/test_replay.py",
}
REPLAYED = "docs/replay.md"  # its gdb needs a recording: tests/gdb/test_replay.py
LIVE = ("--follow", "xv6-trace top")  # what goes on until it is interrupted
ROUNDS = 8  # times a guest shares a page while gdb looks
HOST = re.compile(r"(make|tools/\S+|build/\S+)( |$)")


def lines_of(page: Path, prefix: str) -> list[str]:
    """The commands a page shows after a prompt, without the remarks behind them."""
    found = []
    for line in page.read_text().splitlines():
        if line.startswith("    " + prefix):
            found.append(re.sub(r"\s{2,}#.*|\s+# .*", "", line[4 + len(prefix) :]).strip())
    return found


def host_lines(page: Path) -> list[str]:
    """The commands for the host: from the first word to a gap of two spaces, after which it is a remark."""
    found = []
    for line in page.read_text().splitlines():
        if line.startswith("    ") and HOST.match(line[4:]):
            found.append(re.split(r"\s{2,}|\s+# ", line[4:])[0].strip())
    return found


def having(prefix: str) -> list[str]:
    """Pages with such commands, as parameters."""
    return [str(page.relative_to(tree.ROOT)) for page in PAGES if lines_of(page, prefix)]


def pages_with_host_lines() -> list[str]:
    """The same for the host."""
    return [str(page.relative_to(tree.ROOT)) for page in PAGES if host_lines(page)]


@pytest.mark.parametrize("page", having("$ "))
def test_at_the_prompt(page: str, boot: Boot) -> None:
    """Each command ends well in one guest, in the page's order."""
    guest = boot(cpus=2)
    for command in lines_of(tree.ROOT / page, "$ "):
        if command == "shutdown":
            guest.keys("shutdown\n")
            guest.wait()
            guest = boot(cpus=2)
        elif command == "shmtrace -f":
            guest.keys(command + "\n")  # it reads the Enter that ends it when it is there
            guest.keys("\n")
            guest.expect(r"\$ $")
        else:
            guest.run(command)


@pytest.mark.parametrize("page", [p for p in having(PROMPT) if p != REPLAYED])
def test_in_gdb(page: str, boot: Boot) -> None:
    """Each command gives an answer and no error, in a guest that stops again and again with a page shared."""
    port = free_port()
    guest = boot(cpus=1, extra=("-gdb", f"tcp:127.0.0.1:{port}"), audited=False)
    with gdb(port, tree.KERNEL) as ask:
        for _ in range(ROUNDS):
            guest.keys("shmem_test2\n")
        commands = lines_of(tree.ROOT / page, PROMPT)
        if not commands[0].startswith("break "):
            ask("break unmap_shared_pages")
            ask("continue")
        for command in commands:
            answer = ask(f"python gdb.execute({command!r})")  # says of an error that it is one
            refused = re.search(r"Traceback|Undefined|Exception|^Error", answer, re.M)
            assert answer and not refused, f"{command}: {answer}"
        ask("kill")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the tree, for commands that leave files where they are run."""
    for entry in tree.ROOT.iterdir():
        if entry.name not in (".git", "docs"):
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def dump(guest: Guest, path: Path) -> None:
    """QEMU's own core file of the guest, through its monitor on the console."""
    guest.keys("\x01c")
    guest.expect(r"\(qemu\) ")
    guest.keys(f"dump-guest-memory {os.path.relpath(path)}\n")
    guest.expect(r"\(qemu\) ")
    guest.keys("\x01c")


def record(guest: Guest, folder: Path) -> None:
    """Makes run.xt, what the guest's rings hold."""
    tool = str(tree.ROOT / "tools/trace/xv6-trace")
    made = [tool, "attach", "--ram", str(guest.ram), "--seconds", "0", "-o", "run.xt"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)


def interrupted(command: str, folder: Path) -> int:
    """Runs what shows a live guest until it has shown something, then ^C. Its exit status."""
    env = {"TERM": "xterm", **os.environ}  # a user has a terminal that says what it is
    child = pexpect.spawn(
        "/bin/sh", ["-c", f"exec {command}"], cwd=folder, env=env, encoding="utf-8"
    )
    with child:
        child.expect(r"\S", timeout=300)
        child.sendintr()
        child.expect(pexpect.EOF, timeout=300)
    return int(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)


@pytest.mark.parametrize("page", pages_with_host_lines())
def test_on_the_host(page: str, boot: Boot, folder: Path) -> None:
    """Each command ends well, beside a guest that runs, with a trace at hand."""
    commands = [c for c in host_lines(tree.ROOT / page) if not c.startswith(tuple(ELSEWHERE))]
    if not commands:
        return
    port = free_port()
    guest = boot(cpus=1, extra=("-gdb", f"tcp:127.0.0.1:{port}"), audited=False)
    guest.run("crypto_cli; crypto_cli")
    stands_for = {"build/run/PID/ram": str(guest.ram), "25000": str(port), "PID": "1"}
    if any("CORE" in c for c in commands):
        dump(guest, folder / "CORE")
    if any("memory.bin" in c for c in commands):
        shutil.copyfile(guest.ram, folder / "memory.bin")
    if any("run.xt" in c for c in commands):
        record(guest, folder)
    for command in commands:
        for word, value in stands_for.items():
            command = command.replace(word, value)
        if any(word in command for word in LIVE) or command.endswith("xv6-trace attach"):
            if "--ram" not in command and "--gdb" not in command:
                command += f" --ram {guest.ram}"  # the one that runs, for a user: tests run several
            assert interrupted(command, folder) in (0, 130), command
            continue
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_what_is_carried_out_elsewhere_is_there() -> None:
    """The list of exceptions names files that exist."""
    for place in ELSEWHERE.values():
        assert (tree.ROOT / place).exists(), place


@pytest.mark.parametrize("page", [str(p.relative_to(tree.ROOT)) for p in PAGES])
def test_links(page: str) -> None:
    """Links to files, and to headings in them, lead somewhere."""
    path = tree.ROOT / page
    for target in re.findall(r"\]\(([^)#\s]*(?:#[^)\s]*)?)\)|src=\"([^\"]+)\"", path.read_text()):
        link = "".join(target)
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{page}: {link}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in anchors, f"{page}: {link}: no such heading"


def test_python(boot: Boot, folder: Path) -> None:
    """The check of ten lines, and the lines that read a trace, as the pages show them."""
    guest = boot(cpus=1, audited=False)
    guest.run("crypto_cli; crypto_cli")
    record(guest, folder)
    arguments: dict[str, list[str]] = {
        "guest.md": [str(tree.KERNEL), str(guest.ram)],
        "reading-a-trace.md": [],
    }
    for page, words in arguments.items():
        text = (tree.ROOT / "docs" / page).read_text()
        block = next(b for b in re.findall(r"(?:^(?:    .*)?\n)+", text, re.M) if "import " in b)
        script = folder / "script.py"
        script.write_text(re.sub(r"^    ", "", block, flags=re.M).lstrip("\n"))
        done = subprocess.run(
            ["/usr/bin/python3", str(script), *words],
            env={**os.environ, "PYTHONPATH": str(tree.ROOT)},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
