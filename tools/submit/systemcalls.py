"""System calls of a tree: their numbers, by the names of the assignment, and what the tree calls them.

Relies on the tree's kernel/syscall.h and on the machine code of its kernel.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from tools.guest.memory import GuestError
from tools.submit import sandbox
from tools.submit.build import Build
from tools.submit.code import Code, reaches

NEEDED = "fork exit wait pipe read exec dup getpid sleep open write mknod".split()
OPTIONAL = (
    "kill sbrk uptime crypto_op take_shared_memory_request remove_shared_memory_request "
    "map_shared_pages unmap_shared_pages pause"
).split()
XV6 = "fstat chdir unlink link mkdir close".split()  # the rest of xv6's own


class Numbers(dict[str, int]):
    """Number of each system call. A call of the assignment may have another name in the tree, if it ends in the
    kernel's function of that name; both names have its number then.
    """

    def __init__(self, numbers: dict[str, int] | None = None):
        super().__init__(numbers or {})
        self.names: dict[str, str] = {}  # assignment's name -> the tree's, where that is another

    def learn(self, functions: dict[str, Code]) -> None:
        """Finds calls under other names. functions: the kernel's (code.functions_of())."""
        known = {*NEEDED, *OPTIONAL, *XV6}
        for call in ("map_shared_pages", "unmap_shared_pages"):
            if call in self or call not in functions:
                continue
            for name in [n for n in self if n not in known and f"sys_{n}" in functions]:
                if reaches(functions, f"sys_{name}", {call}):
                    self.names[call], self[call] = name, self[name]
                    break

    def name(self, call: str) -> str:
        """What the tree calls a call of the assignment, in its user.h too."""
        return self.names.get(call, call)

    def named(self, function: str) -> str:
        """A kernel function of the assignment under the tree's name, if it is that of a call."""
        return self.function(function[4:]) if function.startswith("sys_") else function

    def function(self, call: str) -> str:
        """The kernel's function of a call of the assignment."""
        return f"sys_{self.name(call)}"


def numbers(build: Build) -> Numbers:
    """System calls by name, from the tree's own kernel/syscall.h as its compiler understands it."""
    root = build.tree.root
    names = re.findall(r"\bSYS_(\w+)", _text(root / "kernel/syscall.h"))
    names += re.findall(r"^\s*X\(\d+, (\w+)\)", _text(root / "kernel/syscall.h"), re.M)
    names = [n for n in dict.fromkeys([*NEEDED, *OPTIONAL, *names]) if n not in ("name", "")]
    found = Numbers()
    name = f".numbers-{secrets.token_hex(8)}"  # which nothing in the tree can have
    source, obj = root / f"{name}.c", root / f"{name}.s"
    while names:
        lines = ['#include "kernel/types.h"', '#include "kernel/syscall.h"']
        lines += [f"unsigned long number_{n} = SYS_{n};" for n in names]
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")  # a name may be any letters
        command = [f"{build.prefix}gcc", "-w", "-I.", "-S", "-o", obj.name, source.name]
        result = sandbox.run(command, root, 60)
        if result.status == 0:
            text = obj.read_text(encoding="utf-8", errors="replace")
            pairs = re.findall(r"^number_(\w+):\s+\.dword\s+(\d+)", text, re.M)
            found = Numbers({n: int(v) for n, v in pairs})
            zeros = re.findall(r"^number_(\w+):\s+\.zero", text, re.M)
            found.update({n: 0 for n in zeros})
            break
        unknown = set(re.findall(r"SYS_(\w+)\W* undeclared", result.output))
        if not unknown:
            raise GuestError(f"kernel/syscall.h: {result.output.strip().splitlines()[-1:]}")
        names = [n for n in names if n not in unknown]
    for path in (source, obj):
        path.unlink(missing_ok=True)
    if "sleep" not in found and "pause" in found:
        found["sleep"] = found["pause"]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise GuestError(f"{path.name}: the tree has no such file") from None
