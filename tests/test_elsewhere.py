"""What runs this project elsewhere: dev container, workflows, editors. What they name must exist.

None of them can run here; so they are read, and each command, file, option and package in them is
looked up.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import tree

WORKFLOWS = (".github/workflows/ci.yml", "tools/submit/github/check.yml")
BEFORE_SETUP = {"git", "make", "ca-certificates"}  # what one installs to fetch the tree at all


def lines_of(workflow: str) -> list[str]:
    """Every shell line a workflow runs."""
    text: dict[str, Any] = yaml.safe_load((tree.ROOT / workflow).read_text())
    jobs = text["jobs"].values()
    return [x for j in jobs for s in j["steps"] for x in s.get("run", "").splitlines()]


def check_line(line: str) -> None:
    """A shell line names programs, targets, sections and options that there are."""
    for part in line.split("&&"):
        words = shlex.split(part)
        if words[0] == "apt-get":
            names = [w for w in words[2:] if not w.startswith("-")]
            assert set(names) <= BEFORE_SETUP, f"a second list of packages: {line}"
        elif words[0] == "make":
            assert tree.make("-n", *words[1:]).returncode == 0, line
        elif "/" in words[0]:
            assert (tree.ROOT / words[0]).is_file(), line
            if words[0].endswith("setup"):
                listed = re.findall(r"^(\w+):", (tree.ROOT / "packages.txt").read_text(), re.M)
                assert set(words[1:]) <= set(listed), line
            elif len(words) > 1:
                command = [str(tree.ROOT / words[0]), words[1], "--help"]
                text = subprocess.run(command, capture_output=True, text=True).stdout
                assert all(w in text for w in words if w.startswith("--")), line
        else:
            assert words[0] in ("cd", "chown"), line


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_names_what_there_is(built: None, workflow: str) -> None:
    """And runs on Debian 12, as a user with rights to install."""
    lines = lines_of(workflow)
    assert lines
    for line in lines:
        check_line(line)
    jobs = yaml.safe_load((tree.ROOT / workflow).read_text())["jobs"].values()
    assert [j["container"]["image"] for j in jobs] == ["debian:12"]


def test_ci_runs_what_ci_runs() -> None:
    """The workflow has no list of checks of its own."""
    assert ".ci/run" in lines_of(WORKFLOWS[0])


def test_the_dev_container_installs_packages_txt() -> None:
    """Debian 12, no second list, and every file it copies."""
    folder = tree.ROOT / ".devcontainer"
    facts = json.loads((folder / "devcontainer.json").read_text())
    docker = (folder / facts["build"]["dockerfile"]).read_text().splitlines()
    assert "FROM debian:12" in docker
    for line in docker:
        word, _, rest = line.partition(" ")
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (folder / facts["build"]["context"] / source).is_file(), line
        elif word == "RUN":
            check_line(rest.replace("/opt/xv6-glass/", "").split(" && rm ")[0])
    check_line(facts["postCreateCommand"])


def test_compile_commands_compile(built: None, tmp_path: Path) -> None:
    """One entry for each C and assembly file of kernel, user and mkfs; its command works."""
    entries = json.loads((tree.ROOT / "compile_commands.json").read_text())
    files = {e["file"] for e in entries}
    patterns = ("kernel/*/*.c", "kernel/*/*.S", "user/*.c", "mkfs/*.c")
    assert files == {str(f.relative_to(tree.ROOT)) for p in patterns for f in tree.ROOT.glob(p)}
    for file in ("kernel/mm/vm.c", "user/sh.c", "mkfs/mkfs.c"):
        (entry,) = (e for e in entries if e["file"] == file)
        command = [*shlex.split(entry["command"]), "-o", str(tmp_path / "object.o")]
        assert subprocess.run(command, cwd=entry["directory"]).returncode == 0


def test_setup_leaves_out_what_a_distribution_lacks(tmp_path: Path) -> None:
    """As Ubuntu lacks chromium: a line, and everything else is installed."""
    fakes = {
        "dpkg-query": "exit 1",
        "id": "echo 0",
        "env": 'shift; exec "$@"',
        "apt-cache": "[ $2 = chromium ] && echo '  Candidate: (none)' || echo '  Candidate: 1.0'",
        "apt-get": f'echo "$@" >> {tmp_path}/asked',
    }
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    command = ["/bin/bash", str(tree.ROOT / "tools" / "setup"), "test"]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "setup: there is no package chromium here: left out\n"
    asked = (tmp_path / "asked").read_text().splitlines()[-1].split()
    assert "install" in asked and "python3-pytest" in asked and "chromium" not in asked
