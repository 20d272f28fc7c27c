"""What a check comes to: findings with evidence, what passed, what could not be decided.

The catalogue is the one table of ids: a title, how bad it is, and where in a tree it usually lives.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SEVERITIES = ERROR, WARNING, NOTE = "error", "warning", "note"
MISSING = "NOT-IMPLEMENTED"

# id: (severity, what it is, the functions it usually lives in, first found wins)
CATALOGUE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "B1": (ERROR, "does not build", ()),
    MISSING: (ERROR, "not implemented", ("sys_map_shared_pages", "syscall")),
    "M1": (ERROR, "the destination's sz is not kept right by a mapping", ("map_shared_pages",)),
    "M2": (ERROR, "wrong number of pages for a range", ("map_shared_pages",)),
    "M3": (ERROR, "the returned address is not that of the source's byte", ("map_shared_pages",)),
    "M4": (ERROR, "the source's entry is not checked", ("map_shared_pages",)),
    "M5": (ERROR, "a mapping that fails half way is not undone", ("map_shared_pages",)),
    "M6": (ERROR, "flags not copied, or PTE_S missing", ("map_shared_pages",)),
    "M7": (ERROR, "a range out of bounds is not refused", ("map_shared_pages",)),
    "M8": (ERROR, "size 0 is not refused", ("map_shared_pages",)),
    "U1": (ERROR, "unmap does not undo exactly what map did", ("unmap_shared_pages",)),
    "U2": (ERROR, "private memory can be unmapped as shared", ("unmap_shared_pages",)),
    "U3": (ERROR, "an unmapped address is not refused", ("unmap_shared_pages",)),
    "U4": (ERROR, "an address inside a page is unmapped wrongly", ("unmap_shared_pages",)),
    "U5": (ERROR, "unmapping a region below another breaks sz", ("unmap_shared_pages",)),
    "L1": (ERROR, "a frame is freed by a process that does not own it", ("uvmunmap", "freewalk")),
    "L2": (ERROR, "fork of a holder loses frames", ("uvmcopy", "fork")),
    "L3": (WARNING, "the owner's exit leaves others with freed frames", ("uvmunmap",)),
    "L4": (ERROR, "plain runs lose frames", ("uvmunmap",)),
    "K1": (WARNING, "the process table is read without a lock", ("find_proc",)),
    "K2": (ERROR, "a lock is kept, or one not held is released", ("sys_map_shared_pages",)),
    "K3": (ERROR, "two mappings can lock each other out", ("sys_map_shared_pages",)),
    "A1": (ERROR, "a pid that is no live process is accepted", ("sys_map_shared_pages",)),
    "A2": (WARNING, "strangers may map into each other's memory", ("sys_map_shared_pages",)),
    "C1": (ERROR, "type or state of a request wrongly checked", ("main",)),
    "C2": (ERROR, "a key of size 0 is not refused", ("main",)),
    "C3": (ERROR, "sizes beyond the mapping are not refused", ("main",)),
    "C4": (ERROR, "an invalid request's mapping is never removed", ("main",)),
    "C5": (ERROR, "no fence before the state changes", ("main",)),
    "C6": (ERROR, "the request is used after it was removed", ("main",)),
    "C7": (ERROR, "crypto_srv runs on with another pid than 2", ("main",)),
    "C8": (ERROR, "the server ends or spins after an error", ("main",)),
    "C9": (ERROR, "sizes are read again from shared memory", ("main",)),
    "C10": (ERROR, "an invalid request is not answered with ERROR", ("main",)),
    "X1": (
        ERROR,
        "a failed map reaches the server as an address",
        ("sys_take_shared_memory_request",),
    ),
    "X2": (ERROR, "frames are taken as contiguous", ("map_shared_pages",)),
    "X3": (ERROR, "a destination size inside a page breaks the mapping", ("map_shared_pages",)),
    "X4": (
        ERROR,
        "a request of a process that has gone panics",
        ("sys_take_shared_memory_request",),
    ),
    "X5": (ERROR, "a mapping collides with the server's heap", ("map_shared_pages",)),
    "X6": (ERROR, "a failing unmap takes the first pages away", ("unmap_shared_pages",)),
    "X7": (ERROR, "a 32-bit fetch into a 64-bit variable", ("sys_map_shared_pages",)),
    "X8": (ERROR, "a process's own frames are never freed", ("uvmunmap",)),
    "T1": (WARNING, "the student's own test cannot fail", ("main",)),
    "Q1": (
        NOTE,
        "requests in a full queue are lost (given code)",
        ("shmem_queue_insert", "queue_add"),
    ),
    "Q2": (NOTE, "crypto_op takes any address (given code)", ("sys_crypto_op",)),
    "Q3": (
        ERROR,
        "a client that leaves takes the service with it",
        ("sys_take_shared_memory_request",),
    ),
}


def plain(text: str) -> str:
    """Text of a stranger's with nothing in it that a terminal would obey or an XML parser refuse."""
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)


def docs_page(id: str) -> str:
    """Where docs explain the mistake."""
    return f"docs/mistakes/{id}.md"


@dataclass
class Finding:
    """One thing that is wrong. file and line are in the student's source. guest: which of its probe's
    guests showed it, from 1; 0 if none did. trace: the file that one was recorded in, if any. staged: recorded was not
    that guest but the same call in another, as nothing else may watch the first.
    """

    id: str
    severity: str
    sentence: str
    function: str
    file: str
    line: int
    evidence: list[str]
    reproduce: str
    docs: str
    probe: str
    guest: int = 0
    trace: str = ""
    drawing: str = ""  # HTML
    staged: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON (docs/submit.md)."""
        return {k: v for k, v in asdict(self).items() if k not in ("guest", "staged", "drawing")}


@dataclass
class Report:
    """All that is said about one tree. tried: ids of the probes that ran; lacking: id -> what a probe of
    it would need that is not there.
    """

    tree: str
    shape: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tried: set[str] = field(default_factory=set)
    lacking: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the stable form other programs read."""
        return {
            "tree": self.tree,
            "findings": [f.as_dict() for f in self.findings],
            "passed": self.passed,
            "undecided": self.undecided,
            "notes": self.notes,
            "shape": self.shape,
            "seconds": round(self.seconds, 1),
        }
