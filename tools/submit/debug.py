"""Puts a person at the moment a finding shows: the guest stopped there, gdb attached to it.

Relies on the probes: the one that decides the id runs again, and its guest is kept when it would
book the finding.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.guest.memory import GuestError
from tools.submit import build as building
from tools.submit import tree as trees
from tools.submit.build import OURS
from tools.submit.check import Options, what_lacks
from tools.submit.findings import CATALOGUE
from tools.submit.lab import Lab
from tools.submit.probes import ALL, Bench
from tools.submit.probes.base import Caught
from tools.submit.session import Unanswered
from tools.submit.shape import learn

EXTENSION = OURS / "tools/gdb/xv6.py"


def debug(origin: Path, id: str, options: Options, with_gdb: bool) -> int:
    """Runs the tree to its finding `id` and starts gdb there; 0 if it was found, 1 if it was not."""
    if id not in CATALOGUE:
        raise GuestError(f"{id}: no such finding (there are: {' '.join(CATALOGUE)})")
    probes = [p for p in ALL if id in p.ids]
    if not probes:
        raise GuestError(f"{id}: no guest shows it; what does is told by 'submit check'")
    work = Path(tempfile.mkdtemp(prefix="submit."))
    work.chmod(0o755)
    try:
        tree = trees.copy(origin, work / "tree")
        built = building.build(tree, options.jobs)
        lab = Lab(built, work / "guests", options.timeout)
        shape = learn(lab)
        for probe in [p for p in probes if not what_lacks(p, shape, lab)]:
            bench = Bench(lab, shape, probe.name, cpus=options.cpus)
            bench.stop_at = id
            bench.hold = lambda caught: _attach(caught, lab, tree, with_gdb)
            try:
                probe.run(bench)
            except Caught:
                return 0
            except (Unanswered, GuestError):
                continue
        print(f"submit: {id} does not show in this tree")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _attach(caught: Caught, lab: Lab, tree: trees.Tree, with_gdb: bool) -> None:
    """With the guest stopped, gives the terminal to gdb until it is left."""
    session = caught.session
    session.hand_over()
    session.machine.pause()
    for line in caught.lines:
        print(line)
    socket = session.machine.folder / "gdb"
    extension = ["-x", str(EXTENSION)] if EXTENSION.is_file() else []
    # What lies in the folder one happens to be in is not run: it may be the submission.
    command = ["gdb-multiarch", "-q", "-iex", "set auto-load local-gdbinit off"]
    command += ["-ex", "set architecture riscv:rv64", *extension]
    command += ["-ex", f"set substitute-path /tree {tree.root}", "-ex", f"cd {tree.root}"]
    command += ["-ex", f"target remote {socket}", str(lab.kernel)]
    if with_gdb:
        subprocess.run(command, check=False)
    else:
        print(" ".join(f"'{part}'" if " " in part else part for part in command))
        print("The guest stays until a line is entered here.", flush=True)
        sys.stdin.readline()
