"""tools/submit: what a TA sees for trees that are fine, broken, hostile, or no tree at all.

Trees are clones of this one with a mutant's patch; `--only` keeps each to the probes that matter.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pexpect
import pytest

from tests import mutants
from tests.harness import tree
from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.submit import build, report, sandbox, skeleton
from tools.submit import tree as trees_of
from tools.submit.findings import CATALOGUE, MISSING, Finding, Report
from tools.submit.probes import ALL

SUBMIT = tree.ROOT / "tools" / "submit" / "submit"
DOCS = tree.ROOT / "docs" / "mistakes"


def submit(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs submit to its end."""
    command = [str(SUBMIT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=850)


def tiny(folder: Path, makefile: str = "all:\n\tfalse\n") -> Path:
    """The smallest thing that is taken for a tree."""
    (folder / "kernel").mkdir(parents=True)
    (folder / "mkfs").mkdir()
    (folder / "kernel" / "vm.c").write_text("uint64 map_shared_pages;\r\n")
    (folder / "Makefile").write_text(makefile)
    return folder


@pytest.mark.parametrize("name", mutants.names())
def test_mutants_apply(name: str) -> None:
    """Each patch fits the tree as it is now, names ids of the catalogue, and says what it breaks."""
    assert set(mutants.ids(name)) <= set(CATALOGUE)
    assert re.fullmatch(r"[A-Z].*\.", mutants.breaks(name))
    command = ["git", "apply", "--check", str(mutants.path(name))]
    done = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_id_has_a_mutant() -> None:
    """Alone, or in a pair."""
    assert {id for n in mutants.names() for id in mutants.ids(n)} == set(CATALOGUE) - {MISSING}


@pytest.mark.parametrize(
    "name, only, function, file",
    [
        ("M2", "M1,M2,M3,M6,X2,L1", "map_shared_pages", "kernel/mm/shmem.c"),
        ("C5", "C5,X7", "answer", "user/crypto_srv.c"),
    ],
)
def test_mutant_is_found(
    built: None, tmp_path: Path, name: str, only: str, function: str, file: str
) -> None:
    """The finding, in its place, and no other."""
    planted = mutants.plant(name, tmp_path / "tree")
    done = submit("check", planted, "--only", only, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert [f["id"] for f in result["findings"]] == [name]
    finding = result["findings"][0]
    assert (finding["function"], finding["file"]) == (function, file) and finding["line"] > 0
    assert finding["evidence"] and finding["sentence"] and finding["reproduce"]


def test_own_tree_is_right(built: None) -> None:
    """The kernel of this project has none of the mistakes looked for here."""
    only = "M1,M2,M3,M6,X2,L1,L2,X8,C1"
    done = submit("check", tree.ROOT, "--only", only, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert set(only.split(",")) <= set(result["passed"])


def test_no_tree(tmp_path: Path) -> None:
    """One line, exit status 2."""
    for subject in (tmp_path, tmp_path / "missing"):
        done = submit("check", subject)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and str(subject) in done.stderr


def test_usage() -> None:
    """Wrong ids and commands are named."""
    for arguments in (["check", ".", "--only", "M99"], ["nonsense"], ["check", ".", "--jobs", "0"]):
        done = submit(*arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_broken_build_is_a_finding(tmp_path: Path) -> None:
    """Not an error of the tool: B1, exit status 1, with what make said."""
    done = submit("check", tiny(tmp_path / "tree"), "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1 and [f["id"] for f in result["findings"]] == ["B1"]
    assert any("CRLF" in note for note in result["notes"])


def test_a_function_that_is_missing_is_what_a_failed_build_tells() -> None:
    """The linker's line, not make's last."""
    said = "ld: kernel/a.o: in function `f':\n/x/a.c:56: undefined reference to `find_proc'\nmake: *** Waiting.\n"
    found = build.judge("how", sandbox.Result(2, said))
    assert found.error == "undefined reference to `find_proc'"


def test_original_is_not_touched(tmp_path: Path) -> None:
    """A Makefile that writes and removes does so in the copy."""
    folder = tiny(tmp_path / "tree", "all kernel/kernel fs.img:\n\trm -rf * /tree/kernel\n")
    before = sorted(p.name for p in folder.rglob("*"))
    submit("check", folder)
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_zip_from_windows(tmp_path: Path) -> None:
    """Backslashes, a folder further down, names that lead out, line ends."""
    archive = tmp_path / "work.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("xv6\\kernel\\vm.c", "int map_shared_pages;\r\n")
        packed.writestr("xv6\\Makefile", "all:\r\n")
        packed.writestr("../outside", "no")
    copied = trees_of.copy(archive, tmp_path / "copy")
    assert (tmp_path / "copy" / "kernel" / "vm.c").read_bytes() == b"int map_shared_pages;\n"
    assert not (tmp_path / "outside").exists() and len(copied.notes) == 2


def test_tree_with_the_assignment_comes_first(tmp_path: Path) -> None:
    """Of a whole course, the right folder is taken."""
    tiny(tmp_path / "a 1").joinpath("kernel/vm.c").write_text("int x;\n")
    tiny(tmp_path / "a 2")
    assert "a 2" in trees_of.copy(tmp_path, tmp_path.with_name("copy")).notes[0]


def test_sandbox_bounds() -> None:
    """Time, output, processes, network."""
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which nobody may enter
        Path(folder).chmod(0o755)
        bounds_hold(Path(folder))


def bounds_hold(tmp_path: Path) -> None:
    """Commands that ask for too much, each in its turn."""
    assert "no end: it has waited" in sandbox.run(["sleep", "60"], tmp_path, 60, idle=1).bound
    assert "processor time" in sandbox.run(["sh", "-c", "while :; do :; done"], tmp_path, 1).bound
    assert "output" in sandbox.run(["yes"], tmp_path, 60).bound
    bomb = sandbox.run(["sh", "-c", "f() { f | f & }; f; sleep 60"], tmp_path, 3, idle=3)
    assert "processes" in bomb.bound or bomb.status != 0  # or it could not even fork its sleep
    ping = "import socket; socket.create_connection(('1.1.1.1', 53), 2)"
    assert sandbox.run(["python3", "-c", ping], tmp_path, 30).status == 1
    assert sandbox.run(["touch", "/usr/x"], tmp_path, 30).status == 1


def example() -> Report:
    """A report with one of everything."""
    finding = Finding(
        "M2", "error", "Too <few> pages.", "f", "kernel/vm.c", 7,
        ["sz of pid 4: 0x4000 before, 0x5000 after", "new in pid 4: 0x4000 -> frame 0x87f00000 RW-U"],
        "submit debug TREE M2", "docs/mistakes/M2.md", "good ranges", 1, "", "<svg></svg>",
    )  # fmt: skip
    return Report("tree", {}, [finding], ["M1"], {"C5": "no server"}, ["a note"])


def test_forms(tmp_path: Path) -> None:
    """Each form is what its readers parse, and says the same."""
    result = example()
    suite = ElementTree.fromstring(report.junit(result))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    page = report.as_html(result)
    assert "Too &lt;few&gt; pages." in page and "<svg" in page and "http" not in page
    rubric = tmp_path / "rubric.json"
    rubric.write_text('{"M1": 2, "M2": 3, "C5": 1}')
    scores = {
        t["name"][:2]: t["score"] for t in json.loads(report.gradescope(result, rubric))["tests"]
    }
    assert scores == {"M1": 2.0, "M2": 0.0, "C5": 1.0}
    rubric.write_text('{"M99": 1}')
    with pytest.raises(GuestError, match="M99"):
        report.gradescope(result, rubric)


def test_gradescope_folder(tmp_path: Path) -> None:
    """run_autograder leaves results whatever was handed in."""
    tiny(tmp_path / "submission")
    (tmp_path / "source").symlink_to(tree.ROOT)
    runner = tree.ROOT / "tools/submit/gradescope/run_autograder"
    for _ in range(2):
        subprocess.run(
            [runner], env={"AUTOGRADER": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True
        )
        result = json.loads((tmp_path / "results" / "results.json").read_text())
        assert sum(t["score"] for t in result.get("tests", [])) == 0 and result["output"]
        subprocess.run(["rm", "-r", tmp_path / "submission" / "kernel"], check=True)
        break


def test_batch(tmp_path: Path) -> None:
    """One tree that cannot be read disturbs no other; a second run has nothing left to do."""
    tiny(tmp_path / "in" / "one")
    (tmp_path / "in" / "two").mkdir()
    for _ in range(2):
        done = submit("batch", tmp_path / "in", "--out", tmp_path / "out")
        assert done.returncode == 1, done.stderr
        table = (tmp_path / "out" / "table.csv").read_text().splitlines()
        assert table[0] == "tree,B1,problem" and table[1].startswith("one,error,")
        assert table[2].startswith("two,,") and "no xv6 tree" in table[2]
    assert len((tmp_path / "out" / "joblog").read_text().splitlines()) == 3


SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
echo "$1" >> "$HOSTS"
shift
[ "$1" = -- ] && shift
exec env SHELL=/bin/sh sh -c "$*"  # as a login has it: parallel's worker starts the command with it
"""


def test_batch_on_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--sshlogin goes to parallel, which has ssh start the check there; here ssh stays at home."""
    for name in ("one", "two", "three"):
        (tmp_path / "in" / name).mkdir(parents=True)
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOSTS", str(tmp_path / "hosts"))
    logins = ("--sshlogin", "1/upstairs", "--sshlogin", "1/downstairs")
    done = submit("batch", tmp_path / "in", "--out", tmp_path / "out", *logins)
    assert done.returncode == 0, done.stderr
    hosts = (tmp_path / "hosts").read_text().split()
    assert len(hosts) == 3 and set(hosts) <= {"upstairs", "downstairs"}
    table = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert len(table) == 4 and all("no xv6 tree" in row for row in table[1:])


def test_every_finding_can_be_drawn() -> None:
    """What can't be recorded where it shows has a scene that can."""
    assert [p.name for p in ALL if not p.observable and p.scene is None] == []


def test_a_finding_is_where_its_function_begins(built: None) -> None:
    """Not in what the compiler has inlined at its head."""
    elf, found = Elf(str(tree.KERNEL)), 0
    for home in sorted({home for _, _, homes in CATALOGUE.values() for home in homes}):
        place = elf.declared(home)
        if place:
            found += 1
            line = (tree.ROOT / place[0]).read_text().splitlines()[place[1] - 1]
            assert f"{home}(" in line, (place, line)
    assert found > 5


def test_every_id_has_its_page() -> None:
    """docs/mistakes and the catalogue name the same ids."""
    assert {p.stem for p in DOCS.glob("*.md")} == set(CATALOGUE)


def test_skeleton(tmp_path: Path) -> None:
    """The seams are cut, the solution is gone, and it is not written over anything."""
    assert skeleton.write(tmp_path / "out") == 3
    text = (tmp_path / "out" / "kernel/mm/shmem.c").read_text()
    assert "lock_both" not in text and "return -1; // your work" in text
    made = tree.make("skeleton", f"OUT={tmp_path / 'out'}")
    assert made.returncode == 2 and "exists already" in made.stdout


@pytest.mark.parametrize("id", ["B1", "NOT-IMPLEMENTED"])
def test_what_no_guest_shows_is_not_sought_in_one(id: str) -> None:
    """A finding of the build, or of what there is, has another command that shows it."""
    done = submit("debug", tree.ROOT, id)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and id in done.stderr


def test_endless_makefile_ends(tmp_path: Path) -> None:
    """A Makefile that never stops thinking is a finding within its processor time, tried once."""
    text = "X := $(shell while :; do :; done)\nall:\n"
    before = build.ASKING
    build.ASKING = 1
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            made = build.build(trees_of.copy(tiny(tmp_path / "tree", text), Path(folder) / "copy"))
    finally:
        build.ASKING = before
    assert made.kernel is None and len(made.attempts) == 1
    assert "no end after 1 s of processor time" in made.attempts[0].error


@pytest.mark.parametrize(
    "id,text",
    [
        ("M2", "pages?, but .* mapped"),
        ("K1", "with no lock held"),  # seen by watching, through the only port for gdb
        ("L3", "freed while another"),  # judged when its guest has ended
        ("X7", "4 bytes"),  # read from the code, without a guest
    ],
)
def test_debug_stops_in_gdb(built: None, tmp_path: Path, id: str, text: str) -> None:
    """gdb holds the guest where the finding shows, this project's commands loaded, and ends with it. It has nothing to
    say of the files of the folder it was started in, a .gdbinit among them.
    """
    command = ["debug", str(mutants.plant(id, tmp_path / "tree")), id]
    with pexpect.spawn(str(SUBMIT), command, timeout=600, encoding="utf-8") as child:
        child.expect(text)
        child.expect(r"\(gdb\) ")
        assert (tree.ROOT / ".gdbinit").is_file() and "auto-load" not in (child.before or "")
        child.sendline("ps")
        child.expect("crypto_srv")
        child.expect(r"\(gdb\) ")
        child.sendline("kill")
        child.expect(r"\(y or n\)|\(gdb\) ")
        child.sendline("y")
        child.sendline("quit")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0
