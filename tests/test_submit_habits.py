"""Habits of trees that are no mistakes: calls under other names, a server that polls, a kernel that prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.harness import tree
from tests.test_submit import submit
from tools.submit.systemcalls import Numbers

NAMES = {"map_shared_pages": "share_in", "unmap_shared_pages": "share_out"}
SERVER_IDS = "C1,C4,C5,C6,C8,C10,M1,T1,U1"
POLLS = {
    "kernel/ipc/shmem_queue.c": (
        "  while (s && q->count == 0) {\n    q->idle = 1;\n    if (sleep_killable(&q->idle, &q->lock) < 0)\n"
        "      s = 0;\n  }\n",
        "  if (q->count == 0)\n    s = 0;\n",
    ),
    "user/crypto_srv.c": (
        "    if (take_shared_memory_request(&op, &size) < 0)\n      return 1; // the kernel starts a new one\n",
        "    if (take_shared_memory_request(&op, &size) < 0) {\n      sleep(1);\n      continue;\n    }\n",
    ),
}
SAYS = (
    "  struct shmem_service *s = is_server(p) ? queue_find(va, size) : 0;\n",
    '  printf("[remove] pid=%d va=%p\\n", p->pid, (void *)va);\n',
)


def test_a_call_is_known_by_where_it_ends() -> None:
    """Whatever it is called; one of xv6's own, or of the assignment, never is another."""
    code = {
        "map_shared_pages": [(0, "ret")],
        "sys_share_in": [(0, "jal 80000000 <helper>")],
        "helper": [(0, "j 80000010 <map_shared_pages>")],
        "sys_take_shared_memory_request": [(0, "jal 80000010 <map_shared_pages>")],
        "sys_share_out": [(0, "jal 80000020 <uvmunmap>")],
    }
    numbers = Numbers({"take_shared_memory_request": 25, "share_out": 31, "share_in": 30})
    numbers.learn(code)
    assert (
        numbers["map_shared_pages"] == 30 and numbers.function("map_shared_pages") == "sys_share_in"
    )
    assert "unmap_shared_pages" not in numbers and numbers.named("sys_exit") == "sys_exit"


def test_habits_are_no_findings(built: None, tmp_path: Path) -> None:
    """A tree with all of them and no mistake: nothing is found, and nothing left undecided."""
    handed_in = tree.clone(tmp_path / "tree")
    renamed = r"\b(sys_|SYS_)?(un)?map_shared_pages\b"
    of_calls = r"(sys_)(un)?map_shared_pages\b|(?<=\d, )(un)?map_shared_pages\b"

    def rename(file: Path, pattern: str) -> None:
        def other(found: re.Match[str]) -> str:
            call = re.sub(r"^(sys_|SYS_)", "", found[0])
            return found[0].replace(call, NAMES[call])

        file.write_text(re.sub(pattern, other, file.read_text()))

    for file in (handed_in / "user").glob("*.[ch]"):
        rename(file, renamed)
    for name in ("kernel/syscall.h", "kernel/ipc/syscrypt.c"):
        rename(handed_in / name, of_calls)
    changes = {**POLLS, "kernel/ipc/syscrypt.c": (SAYS[0], SAYS[1] + SAYS[0])}
    for name, (old, new) in changes.items():
        text = (handed_in / name).read_text()
        assert old in text, name
        (handed_in / name).write_text(text.replace(old, new))
    result = json.loads(submit("check", handed_in, "--only", SERVER_IDS, "--json").stdout)
    assert result["shape"]["called otherwise"] == NAMES
    assert not result["findings"] and not result["undecided"], result
    assert "map_shared_pages is called share_in in this tree" in result["notes"]
