"""One check of one tree, from copy to report."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from tools.guest.elf import Elf
from tools.guest.memory import GuestError
from tools.submit import build as building
from tools.submit import tree as trees
from tools.submit.drawing import drawn
from tools.submit.findings import (
    CATALOGUE,
    ERROR,
    MISSING,
    NOTE,
    SEVERITIES,
    WARNING,
    Finding,
    Report,
    docs_page,
)
from tools.submit.lab import Lab
from tools.submit.probes import ALL, Bench, Probe
from tools.submit.probes.base import EVIDENCE
from tools.submit.recording import placed, record
from tools.submit.session import Unanswered
from tools.submit.shape import Shape, learn

TAKE, GIVE_BACK = "take_shared_memory_request", "remove_shared_memory_request"
SHM = Path("/dev/shm")
HIDES = {"X8": ("L1", "L2", "L3", "L4")}  # what cannot show while another is there
STAGED = "<p>The guest that showed this was stopped at single instructions. The same call, once more:</p>"
NEEDED = 768 << 20  # bytes in memory for the guests of one check


@dataclass
class Options:
    """What the command line chose. only: ids, none for all; timeout: guest seconds for a call."""

    only: list[str] = field(default_factory=list)
    cpus: int = 1
    jobs: int = 2
    timeout: float = 6.0
    shape_only: bool = False  # no probes
    traces: Optional[Path] = None  # where every finding's guest is recorded
    pictures: bool = False  # record them all, for a report that shows them
    say: Callable[[str], None] = lambda text: None


def check(origin: Path, options: Options) -> Report:
    """Copies, builds, learns, probes; raises GuestError if the tree cannot be looked at at all."""
    begun = time.monotonic()
    report = Report(str(origin))
    work = Path(tempfile.mkdtemp(prefix="submit."))
    work.chmod(0o755)
    fast = SHM if SHM.is_dir() and shutil.disk_usage(SHM).free > NEEDED else work
    guests = Path(tempfile.mkdtemp(prefix="submit.", dir=fast))
    try:
        options.say("copying")
        tree = trees.copy(origin, work / "tree")
        options.say("building")
        built = building.build(tree, options.jobs)
        _judge_build(built, report)
        if built.kernel is not None:
            _probe(built, guests, options, report)
        report.notes = tree.notes + report.notes
    finally:
        shutil.rmtree(guests, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    report.seconds = time.monotonic() - begun
    return report


def _judge_build(built: building.Build, report: Report) -> None:
    failed = [a for a in built.attempts if a.error]
    if not failed:
        report.passed.append("B1")
        return
    worked = next((a for a in built.attempts if not a.error), None)
    first = failed[0].error
    place = re.match(r"(?:\S*?/)?((?:kernel|user|mkfs)/[^:]+):(\d+)", first)
    if worked is None:
        severity, sentence = ERROR, "The tree does not build."
    elif "without" in worked.how:
        severity, sentence = WARNING, f"The tree builds only without -Werror ({worked.how})."
    else:
        severity, sentence = NOTE, f"The tree builds with {worked.how}, but not every toolchain."
    file, line = (place[1], int(place[2])) if place else ("", 0)
    evidence = [f"{a.how}: {a.error}" for a in failed]
    report.findings.append(
        Finding(
            "B1", severity, sentence, "", file, line, evidence, "make", docs_page("B1"), "build"
        )
    )


def _probe(built: building.Build, guests: Path, options: Options, report: Report) -> None:
    options.say("booting")
    lab = Lab(built, guests, options.timeout)
    try:
        shape = learn(lab)
    except (GuestError, Unanswered) as error:
        raise GuestError(f"the kernel does not come as far as running a program: {error}") from None
    report.shape = shape.as_dict(lab)
    for call, name in lab.numbers.names.items():
        report.notes.append(f"{call} is called {name} in this tree")
    if options.shape_only:
        return
    _judge_missing(lab, shape, report)
    chosen = [p for p in ALL if not options.only or set(p.ids) & set(options.only)]
    run_probes(lab, shape, chosen, options, report)
    decided = {id for p in chosen for id in p.ids}
    found = {f.id for f in report.findings}
    for id, why in report.lacking.items():
        if id not in report.tried:  # else another of its probes has decided it
            report.undecided.setdefault(id, why)
    for id, others in HIDES.items():
        for other in others if id in found else ():
            report.undecided.setdefault(other, f"hidden by {id}: {CATALOGUE[id][1]}")
    report.undecided = {k: v for k, v in report.undecided.items() if k not in found}
    report.passed += sorted(decided - found - set(report.undecided), key=_natural)
    if options.only:
        report.findings = [f for f in report.findings if f.id in options.only or _blocks(f)]
    _record(lab, shape, options, report)
    report.findings.sort(key=lambda f: (SEVERITIES.index(f.severity), _natural(f.id)))


def _blocks(finding: Finding) -> bool:
    """Is it why others could not be looked for?"""
    return finding.id == MISSING or (finding.id == "B1" and finding.severity == ERROR)


def _record(lab: Lab, shape: Shape, options: Options, report: Report) -> None:
    """Records the guests of the findings that need it, or of all of them if somebody wants to see."""
    everything = options.pictures or options.traces is not None
    options.say("recording")
    folder = options.traces or lab.folder / "traces"
    record(lab, shape, report, lambda f: everything or placed(f), folder, options.jobs)
    for finding in report.findings:
        if finding.trace and options.pictures:
            finding.drawing = (STAGED if finding.staged else "") + drawn(Path(finding.trace))
        if not options.traces:
            finding.trace = ""


def run_probes(
    lab: Lab, shape: Shape, chosen: list[Probe], options: Options, report: Report
) -> None:
    """Runs probes stage by stage, `jobs` side by side, and merges what they found in their order."""
    done = itertools.count(1)

    def one(probe: Probe, known: frozenset[str]) -> Report:
        bench = Bench(lab, shape, probe.name, known, options.cpus)
        run_probe(bench, probe, what_lacks(probe, shape, lab))
        options.say(f"[{next(done)}/{len(chosen)}] {probe.name}")
        return bench.report

    for stage in sorted({p.stage for p in chosen}):
        known = frozenset(f.id for f in report.findings)
        with ThreadPoolExecutor(max_workers=options.jobs) as pool:
            mine = [p for p in chosen if p.stage == stage]
            for result in pool.map(lambda p: one(p, known), mine):
                merge(report, result)


def merge(report: Report, more: Report) -> None:
    """Adds what one probe found: evidence to a finding that is known, else the finding."""
    for finding in more.findings:
        same = next((f for f in report.findings if f.id == finding.id), None)
        if same is None:
            report.findings.append(finding)
        else:
            room = max(0, EVIDENCE - len(same.evidence))
            same.evidence += [e for e in finding.evidence if e not in same.evidence][:room]
    report.notes += more.notes
    report.tried |= more.tried
    report.lacking.update({id: why for id, why in more.lacking.items() if id not in report.lacking})
    for id, why in more.undecided.items():
        report.undecided.setdefault(id, why)


def run_probe(bench: Bench, probe: Probe, lacking: str = "") -> None:
    """Runs one probe; what it cannot finish is undecided, and says why."""
    if lacking:
        bench.report.lacking.update({id: lacking for id in probe.ids})
        return
    bench.report.tried.update(probe.ids)
    try:
        probe.run(bench)
    except (Unanswered, GuestError, OSError) as error:
        for id in probe.ids:
            bench.undecided(id, f"the probe '{probe.name}' could not finish: {error}")


def _judge_missing(lab: Lab, shape: Shape, report: Report) -> None:
    missing = []
    if shape.map_order is None:
        missing.append("map_shared_pages")
    elif shape.unmap_order is None:
        missing.append("unmap_shared_pages")
    if missing and missing[0] in shape.unclear:
        report.notes.append(_unclear(missing.pop()))
    if "crypto_op" in lab.numbers and not shape.has_server:
        missing.append("the crypto server")
    if not missing:
        return
    calls = ", ".join(n for n in lab.numbers if "shared" in n) or "none of the assignment"
    lines = [f"system calls in kernel/syscall.h: {calls}"]
    if shape.map_order is None and "map_shared_pages" in lab.numbers:
        lines.append("no order of arguments makes one process see another's frame")
        if shape.trouble:
            lines.append(f"the first try ended with: {shape.trouble}")
    if "the crypto server" in missing:
        lines.append("no call of take_shared_memory_request in crypto_srv")
    bench = Bench(lab, shape, "shape")
    program = lab.build.programs.get("crypto_srv")
    in_server = missing == ["the crypto server"] and program is not None
    elf = Elf(str(program)) if in_server else None
    sentence = f"Not implemented: {', '.join(missing)}."
    bench.find(MISSING, sentence, lines, "main" if in_server else "", elf=elf)
    bench.report.findings[0].reproduce = "submit check TREE --show-shape"  # no guest shows it
    merge(report, bench.report)


def _unclear(call: str) -> str:
    return f"which arguments {call} takes was not found out: no order of a pid, an address and a size works"


def what_lacks(probe: Probe, shape: Shape, lab: Lab) -> str:
    """What a probe needs that the tree does not have; empty if it has all."""
    for need in probe.needs:
        for call, order in (("map", shape.map_order), ("unmap", shape.unmap_order)):
            if need == call and order is None:
                name = f"{call}_shared_pages"
                return _unclear(name) if name in shape.unclear else f"{name} is not implemented"
        if need == "queue" and not shape.has_queue:
            return "this tree has no request queue"
        if need == "take" and not {TAKE, GIVE_BACK} <= set(lab.numbers):
            return "this tree has no calls to take requests with"
        if need == "server" and not shape.server_idle:
            return f"no server waits for requests ({shape.server_state})"
        if need == "program" and not shape.has_server:
            return "no crypto_srv that takes requests"
        if need == "test1" and "shmem_test1" not in lab.build.programs:
            return "there is no shmem_test1"
    return ""


def _natural(id: str) -> tuple[str, int]:
    found = re.match(r"([A-Z-]+)(\d*)", id)
    return (found[1], int(found[2] or 0)) if found else (id, 0)
