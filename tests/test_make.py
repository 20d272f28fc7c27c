"""The Makefile as a user meets it: help, mistakes, both toolchains, and nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the tree that tests may build and clean."""
    return tree.clone(tmp_path_factory.mktemp("make") / "clone")


def git_status(path: Path) -> str:
    """What git would call changed or new."""
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=path, check=True, capture_output=True, text=True).stdout


def test_help_names_every_target_and_variable() -> None:
    """`make help` builds nothing and knows all there is."""
    text = tree.make("help").stdout
    phony = re.search(r"^\.PHONY: (.*)", (tree.ROOT / "Makefile").read_text(), re.M)
    assert phony
    for target in set(phony[1].split()) - {"all", "help", "FORCE"}:
        assert re.search(rf"^make {target}( .*)?  +\S", text, re.M), target
    for variable in "CPUS MEM DEBUG TOOLPREFIX QEMU QEMUEXTRA".split():
        assert f"{variable}=" in text


@pytest.mark.parametrize("cpus", ["0", "9", "-1", "three", "1 2", ""])
def test_a_wrong_number_of_harts_is_one_clear_line(cpus: str) -> None:
    """The line names the variable, the value and what is allowed."""
    done = tree.make("-n", "qemu", f"CPUS={cpus}")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert f"CPUS={cpus}: the number of harts must be 1 to 8" in done.stdout


@pytest.mark.parametrize("mem", ["128", "0M", "lots", "-5M", "2M"])
def test_a_wrong_memory_size_is_one_clear_line(built: None, mem: str) -> None:
    """tools/run says what a size looks like."""
    done = tree.make("qemu", f"MEM={mem}")
    assert done.returncode != 0
    why = "the guest needs at least 4M" if mem == "2M" else "want a size like 128M or 1G"
    assert f"run: argument --mem: {mem}: {why}" in done.stdout
    assert "usage" not in done.stdout


def test_the_gdb_port_depends_on_the_user_only() -> None:
    """Two users of one machine do not meet; one user always finds the same port."""
    done = tree.make("print-gdbport")
    assert done.returncode == 0
    assert int(done.stdout) == 25000 + os.getuid() % 5000


def kernel_and_image(path: Path) -> tuple[bytes, bytes]:
    """The two products of a build."""
    return (path / "kernel" / "kernel").read_bytes(), (path / "fs.img").read_bytes()


@pytest.mark.parametrize("prefix", ["riscv64-unknown-elf-", "riscv64-linux-gnu-"])
@pytest.mark.xdist_group("clone")
def test_either_toolchain_builds_the_same_bytes_twice_and_cleans(clone: Path, prefix: str) -> None:
    """A parallel build from scratch, repeated after a clean, gives the same kernel and image."""
    before = git_status(clone)  # not the tree's own, in which other tests work meanwhile
    products = []
    for _ in range(2):
        done = tree.make("-j2", f"TOOLPREFIX={prefix}", cwd=clone)
        assert done.returncode == 0, done.stdout
        products.append(kernel_and_image(clone))
        assert git_status(clone) == before
        assert tree.make("clean", cwd=clone).returncode == 0
        assert not (clone / "build").exists() and not (clone / "fs.img").exists()
        assert git_status(clone) == before
    assert products[0] == products[1]


@pytest.mark.xdist_group("clone")
def test_a_build_depends_on_headers_flags_and_nothing_else(clone: Path) -> None:
    """Nothing is done twice; a touched header or another toolchain rebuilds what depends on it."""
    assert tree.make("-j2", cwd=clone).returncode == 0
    assert tree.make(cwd=clone).stdout == ""
    (clone / "kernel" / "memlayout.h").touch()
    again = tree.make("-j2", cwd=clone)
    assert "LD kernel/kernel" in again.stdout, again.stdout
    assert "build/user/echo.o" not in again.stdout
    assert tree.make(cwd=clone).stdout == ""
    other = tree.make("-n", "TOOLPREFIX=riscv64-linux-gnu-", cwd=clone)
    assert "riscv64-linux-gnu-gcc" in other.stdout


def test_without_rights_setup_says_what_to_run(tmp_path: Path) -> None:
    """A machine that lacks a package, and a user who may not install it: one line, status 2."""
    commands = tmp_path / "bin"
    commands.mkdir()
    fakes = {"dpkg-query": "exit 1", "sudo": "exit 1", "id": "[ $1 = -u ] && echo 1000 || echo ann"}
    for name, body in fakes.items():
        (commands / name).write_text(f"#!/bin/sh\n{body}\n")
        (commands / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    if shutil.which("apt-get") is None:
        pytest.skip("this machine has no apt-get")
    done = subprocess.run(
        [tree.ROOT / "tools" / "setup", "build"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "may not install packages as ann; run: sudo apt-get install" in done.stderr
