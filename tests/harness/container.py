"""What a container is told to do, as steps: by a GitHub workflow, or by the dev container's two files.

Only what this project's files use is known; anything else is an error, so that nothing is left out silently.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE = "debian:12"
KEYS = {  # of a workflow: https://docs.github.com/en/actions/reference/workflow-syntax-for-github-actions
    "workflow": {"name", "on", "jobs"},
    "job": {"runs-on", "timeout-minutes", "container", "steps"},
    "container": {"image", "options"},
    "step": {"name", "if", "uses", "with", "run"},
    "actions/checkout@v4": {"repository", "path"},
    "actions/upload-artifact@v4": {"name", "path"},
}
CONDITIONS = {None: True, "always()": True, "failure()": False}  # whether it runs where all is well


@dataclass(frozen=True)
class Step:
    """One thing to do. what: "run" a shell script, "clone" into a folder, "copy" a file of the tree into a folder, or
    "keep" a file, which has to be there. Folders are as the container sees them, or relative to the work folder.
    """

    what: str
    text: str
    to: str = "."


@dataclass(frozen=True)
class Plan:
    """Steps in order. folder: where they work."""

    folder: str
    steps: list[Step]


def _known(kind: str, mapping: dict[Any, Any]) -> None:
    # YAML 1.1 reads the key `on` as a truth value.
    unknown = {"on" if key is True else key for key in mapping} - KEYS[kind]
    if unknown:
        raise ValueError(f"{kind}: {', '.join(sorted(map(str, unknown)))}: no key that is known")


def workflow(path: Path) -> Plan:
    """The steps of a workflow of one job. Raises ValueError for what is not in a workflow's published form."""
    import yaml  # of Debian's packages for tests; the rest of this module does without

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    _known("workflow", content)
    (job,) = content["jobs"].values()
    _known("job", job)
    _known("container", job["container"])
    if job["container"]["image"] != IMAGE or job["runs-on"] != "ubuntu-latest":
        raise ValueError(f"{path}: runs in {job['container']['image']} on {job['runs-on']}")
    steps = []
    for step in job["steps"]:
        _known("step", step)
        if ("run" in step) == ("uses" in step):
            raise ValueError(f"{path}: {step}: either runs something or uses an action")
        if not CONDITIONS[step.get("if")]:
            continue
        if "run" in step:
            steps.append(Step("run", step["run"]))
            continue
        given = step.get("with", {})
        _known(step["uses"], given)
        if step["uses"].startswith("actions/checkout"):
            steps.append(Step("clone", given.get("repository", ""), given.get("path", ".")))
        else:
            steps.append(Step("keep", given["path"]))
    return Plan("/__w/xv6-glass/xv6-glass", steps)


def dev_container(path: Path) -> Plan:
    """What building .devcontainer and opening the tree in it does."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    dockerfile = (path.parent / settings["build"]["dockerfile"]).read_text(encoding="utf-8")
    steps = []
    for line in dockerfile.splitlines():
        word, _, rest = line.partition(" ")
        if word == "RUN":
            steps.append(Step("run", rest))
        elif word == "COPY":
            *sources, target = rest.split()
            steps += [Step("copy", source, target) for source in sources]
        elif line != f"FROM {IMAGE}" and not re.match(r"#|$", line):
            raise ValueError(f"{path.parent / 'Dockerfile'}: {line}: not known here")
    steps += [Step("clone", ""), Step("run", settings["postCreateCommand"])]
    return Plan("/workspaces/xv6-glass", steps)


def plan(path: Path) -> Plan:
    """What a file tells a container to do."""
    return dev_container(path) if path.suffix == ".json" else workflow(path)
