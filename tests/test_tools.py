"""Every tool's command line has the same shape, exit statuses mean the same, and all tell one version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree
from tests.harness.guest import Boot
from tools.commandline import STATUS, version

HOOKS = ("tools/submit/gradescope/", ".ci/")  # what others call, under names they chose


def tools() -> list[str]:
    """Every tracked executable, and the host's programs."""
    listing = ["git", "ls-files", "-s"]
    done = subprocess.run(listing, cwd=tree.ROOT, check=True, capture_output=True, text=True)
    rows = [line.split(None, 3) for line in done.stdout.splitlines()]
    found = [row[3] for row in rows if row[0] == "100755" and not row[3].startswith(HOOKS)]
    return sorted([*found, "build/mkfs/mkfs", "build/mkfs/fsck"])


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The tool as a user calls it, from anywhere."""
    command = [str(tree.ROOT / tool), *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("tool", tools())
def test_help_version_and_mistakes(built: None, tool: str) -> None:
    """Usage, a sentence, exit status; name and version; one line and status 2 for a mistake."""
    name = Path(tool).name
    helped = run(tool, "--help")
    assert helped.returncode == 0 and helped.stderr == ""
    text = " ".join(helped.stdout.split())
    assert helped.stdout.startswith(f"usage: {name}")
    assert re.match(r"[A-Z].*?\.( |$)", helped.stdout.split("\n\n")[1].replace("\n", " "))
    assert STATUS in text
    told = run(tool, "--version")
    assert (told.returncode, told.stdout) == (0, f"{name} (xv6-glass) {version()}\n")
    wrong = run(tool, "--no-such-option")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 1 and name in wrong.stderr


@pytest.mark.parametrize("tool", tools())
def test_the_page_of_tools_names_it(tool: str) -> None:
    """docs/tools.md has a row for each."""
    assert f"`{tool}`" in (tree.ROOT / "docs" / "tools.md").read_text()


def test_the_kernel_tells_the_same_version(boot: Boot) -> None:
    """In its first line."""
    guest = boot(cpus=1)
    assert f"xv6-glass {version()} is booting\n" in guest.console


@pytest.mark.xdist_group("clone")
def test_the_tarball_builds(tmp_path: Path) -> None:
    """make dist packs a commit; unpacked, without git, it builds, and even a mutant can be made of it."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(tree.ROOT), str(clone)], check=True)
    done = tree.make("dist", cwd=clone)
    assert done.returncode == 0, done.stdout
    name = f"xv6-glass-{version()}"
    packed = clone / "build" / f"{name}.tar.gz"
    subprocess.run(["tar", "-xzf", str(packed), "-C", str(tmp_path)], check=True)
    top = {p.name for p in (tmp_path / name).iterdir()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "THIRD-PARTY.md"} <= top
    made = tree.make("-j2", cwd=tmp_path / name)
    assert made.returncode == 0, made.stdout
    assert (tmp_path / name / "fs.img").is_file()
    refused = tree.make("dist", cwd=tmp_path / name)
    assert refused.returncode == 2 and "dist: this is no git clone" in refused.stdout
    mutant = [str(tmp_path / name / "tools" / "mutant"), "--no-boot", "C8"]
    done = subprocess.run(mutant, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_version_is_in_the_change_log() -> None:
    """A release says what is new in it."""
    assert f"\n## {version()}\n" in (tree.ROOT / "CHANGELOG.md").read_text()
