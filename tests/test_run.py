"""tools/run: what it refuses, and that nothing of a guest outlives it, however it ends."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import termios
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace

import pexpect.fdpexpect
import pytest

from tests.harness import tree
from tests.harness.guest import Boot


def launch(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the launcher for something it should refuse at once."""
    return subprocess.run(
        [tree.RUN, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_old_qemu_is_refused(tmp_path: Path, built: None) -> None:
    """Older ones hang without a word, so the version is checked first."""
    fake = tmp_path / "qemu"
    fake.write_text("#!/bin/sh\necho QEMU emulator version 7.1.0\n")
    fake.chmod(0o755)
    done = launch("--qemu", fake)
    assert done.returncode == 2
    assert done.stderr == f"run: {fake} is version 7.1; the Sstc timer needs at least 7.2\n"


def test_a_missing_qemu_and_a_missing_kernel_are_named(tmp_path: Path, built: None) -> None:
    """One line each, with the command that helps."""
    done = launch("--qemu", tmp_path / "none")
    assert done.returncode == 2 and "'make setup' installs it" in done.stderr
    done = launch("--kernel", tmp_path / "none")
    assert done.returncode == 2 and "no such file; 'make' builds it" in done.stderr


@pytest.mark.parametrize("what", ["README.md", "build/mkfs/mkfs"])
def test_what_is_no_kernel_is_refused(what: str, built: None) -> None:
    """Text, or a program for another machine, would just stand still."""
    done = launch("--kernel", tree.ROOT / what)
    assert done.returncode == 2 and "not a kernel for 64-bit RISC-V" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_image_in_use_is_refused(boot: Boot) -> None:
    """The second guest on an image would destroy it; it gets one helpful line instead."""
    guest = boot()
    done = launch("--image", guest.image)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run: {guest.image} is in use by another QEMU")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.no_audit("the guest is ended in the middle of things")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_memory_goes_with_the_launcher(boot: Boot, number: signal.Signals) -> None:
    """^C, a closed terminal or a kill leave neither QEMU nor its memory file."""
    guest = boot()
    memory = guest.ram.resolve()
    assert memory.stat().st_size == guest.info["mem"]
    os.kill(guest.launcher, number)
    guest.wait()
    assert not memory.exists() and not guest.folder.exists()
    with pytest.raises(ProcessLookupError):
        guest.signal_qemu(0)


@pytest.mark.no_audit("the guest is ended in the middle of things")
def test_memory_goes_when_the_terminal_does(boot: Boot) -> None:
    """A window that is closed takes the terminal away before anybody can tidy up on it."""
    guest = boot()
    memory = guest.ram.resolve()
    guest.hang_up()
    assert not memory.exists() and not guest.folder.exists()


@pytest.mark.no_audit("the guest is ended in the middle of things")
def test_the_next_run_sweeps_up_after_a_killed_launcher(boot: Boot) -> None:
    """SIGKILL leaves the launcher no time; QEMU dies with it, the next run removes the files."""
    guest = boot()
    memory = guest.ram.resolve()
    os.kill(guest.launcher, signal.SIGKILL)
    guest.stop()
    boot(audited=False)
    assert not memory.exists() and not guest.folder.exists()


class Leaving(type(Path())):  # type: ignore[misc]  # the class of paths here
    """The folder of a run that ends by itself while another looks for dead ones."""

    def is_dir(self) -> bool:
        """It was there a moment ago."""
        shutil.rmtree(self)
        return True


def test_a_run_may_end_while_another_begins(tmp_path: Path) -> None:
    """What has gone meanwhile is no longer to be swept up."""
    loader = SourceFileLoader("launcher", str(tree.RUN))
    launcher = module_from_spec(spec_from_loader("launcher", loader) or ModuleSpec("", None))
    loader.exec_module(launcher)
    run = Leaving(tmp_path / "4711")
    run.mkdir()
    setattr(launcher, "RUNS", SimpleNamespace(iterdir=lambda: [run]))
    launcher.sweep()
    assert not run.exists()


def test_the_terminal_is_restored_when_qemu_is_killed(tmp_path: Path, built: None) -> None:
    """QEMU makes the terminal raw; if it dies the user still gets a usable one."""
    image = tree.copy_image(tree.IMAGE, tmp_path / "fs.img")
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [tree.RUN, "--image", image], stdin=slave, stdout=slave, stderr=slave
    )
    console = pexpect.fdpexpect.fdspawn(master, timeout=180)
    console.expect(r"\$ $")
    assert termios.tcgetattr(slave) != before
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
    assert process.wait(timeout=60) == 128 + signal.SIGKILL
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)
