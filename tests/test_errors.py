"""What goes wrong in somebody's first hour: each gets one line that helps. docs/errors.md lists them.

Some stand elsewhere: an image in use, an old or missing QEMU and a terminal left raw in test_run.py, rights to install
in test_make.py.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree

PAGE = (tree.ROOT / "docs" / "errors.md").read_text()


def told(line: str) -> None:
    """The page explains this line, whatever it names in between."""
    known = [re.escape(w).replace("N", r"\S+") for w in re.findall(r"^\| `(.*?)` \|", PAGE, re.M)]
    assert any(re.search(k.replace(r"\.\.\.", ".*"), line) for k in known), line


def launch(*arguments: str | Path) -> str:
    """What the launcher says when it refuses, in one line."""
    command: list[str | Path] = [tree.RUN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    told(done.stderr)
    return done.stderr


def test_no_toolchain(built: None) -> None:
    """Before anything is compiled."""
    done = tree.make("TOOLPREFIX=riscv64-none-")
    assert done.returncode == 2 and done.stdout.count("\n") == 1
    assert "no compiler riscv64-none-gcc: 'make setup' installs it" in done.stdout
    told(done.stdout)


def test_port_in_use(built: None) -> None:
    """By whatever; the line names the port and the variable that chooses another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use" in launch("--gdb", port)


def test_disk_full(built: None, tmp_path: Path) -> None:
    """Before a guest loses a write; an image with holes needs room it does not have yet."""
    image = tmp_path / "fs.img"
    with open(image, "wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + (1 << 30))
    assert "the disk is full" in launch("--image", image)


def test_an_image_of_something_else(built: None, tmp_path: Path) -> None:
    """The guest says what it found on the disk, and ends."""
    image = tmp_path / "fs.img"
    image.write_bytes(b"\xff" * tree.IMAGE.stat().st_size)
    command = [str(tree.RUN), "--cpus", "1", "--image", str(image)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180
    )
    (line,) = re.findall(r".*no file system on it.*", done.stdout)
    told(line)


def gdb_by_hand(program: str, *arguments: str, home: Path) -> str:
    """What gdb says when it is started in the tree without make."""
    tree.make(".gdbinit")
    environment = {**os.environ, "HOME": str(home)}
    command = [program, "-q", "-batch", *arguments]
    done = subprocess.run(
        command, cwd=tree.ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def test_gdb_without_riscv(built: None, tmp_path: Path) -> None:
    """A PC's own gdb says so, and does not go on."""
    text = gdb_by_hand("gdb", "-nx", "-x", ".gdbinit", home=tmp_path)
    assert len(text.splitlines()) == 1
    assert "This gdb does not know RISC-V: use 'make gdb'" in text
    told(text)


def test_auto_load_refused(built: None, tmp_path: Path) -> None:
    """gdb's own words name the file; the page's line lets it be read."""
    refused = gdb_by_hand("gdb-multiarch", home=tmp_path)
    (line,) = re.findall(r"warning: File .*auto-loading has been declined", refused)
    told(line)
    (cure,) = re.findall(r"`echo 'add-auto-load-safe-path (.*?)' >> ~/.gdbinit`", PAGE)
    (tmp_path / ".gdbinit").write_text(
        f"add-auto-load-safe-path {cure.replace('/path/to/xv6-glass', str(tree.ROOT))}\n"
    )
    allowed = gdb_by_hand("gdb-multiarch", "-ex", "help who-wrote", home=tmp_path)
    assert "declined" not in allowed and "who-wrote ADDRESS" in allowed


@pytest.mark.parametrize("line", re.findall(r"^\| `(.*?)` \| .* \| `(.*?)`", PAGE, re.M))
def test_every_line_has_a_test(line: tuple[str, str]) -> None:
    """The page names the test of each line."""
    file, _, name = line[1].partition("::")
    assert f"def {name}(" in (tree.ROOT / file).read_text()
