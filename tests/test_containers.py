"""The workflows and the dev container: of the published form, and their steps can be carried out by tests/fresh."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree
from tests.harness.container import plan, workflow

FILES = (
    ".github/workflows/ci.yml",
    "tools/submit/github/check.yml",
    ".devcontainer/devcontainer.json",
)


@pytest.mark.parametrize("file", FILES)
def test_its_steps_are_known(file: str) -> None:
    """Each script parses, and the files of the tree it names are there."""
    steps = plan(tree.ROOT / file).steps
    assert {"run", "clone"} <= {step.what for step in steps}
    for step in steps:
        if step.what == "run":
            subprocess.run(["sh", "-n"], input=step.text, text=True, check=True)
            for name in re.findall(r"(?:^|\s)((?:tools|\.ci)/[\w/]+)", step.text):
                assert (tree.ROOT / name).exists(), name
        elif step.what == "copy":
            assert (tree.ROOT / step.text).exists(), step.text


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A key that no schema has, as a slip makes it."""
    file = tmp_path / "ci.yml"
    text = (tree.ROOT / FILES[0]).read_text()
    file.write_text(text.replace("timeout-minutes", "timeout-minute"))
    with pytest.raises(ValueError, match="job: timeout-minute"):
        workflow(file)


def test_course_and_fork_run_the_same_system() -> None:
    """The image, and how it is started: a sandbox wants namespaces, a guest its memory in /dev/shm."""
    for file in FILES[:2]:
        text = (tree.ROOT / file).read_text()
        assert "image: debian:12" in text and "options: --privileged --shm-size 2g" in text
    settings = json.loads((tree.ROOT / FILES[2]).read_text())
    assert "--shm-size" in settings["runArgs"] and "seccomp=unconfined" in settings["runArgs"]
