"""What an event costs where it stands, counted in instructions of the compiled kernel code, not timed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import tree

FLAGS = """-march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -ffreestanding -fno-common -nostdlib
-fno-stack-protector -fno-pie -no-pie -fomit-frame-pointer -O2""".split()
SOURCE = """#include "kernel/trace/trace.h"
void with(uint64 a, uint64 b, uint64 c, uint64 d, uint64 e) { trace(TRACE_MAP, a, b, c, d, e); }
"""
TOOLS = [p for p in ("riscv64-unknown-elf-", "riscv64-linux-gnu-") if shutil.which(p + "gcc")]


@pytest.mark.parametrize("prefix", TOOLS)
def test_instructions_of_an_event(prefix: str, tmp_path: Path) -> None:
    """Off: 4 instructions at most. On, with five arguments: 40 at most. No call and no loop in either."""
    (tmp_path / "t.c").write_text(SOURCE)
    target = tmp_path / "t.o"
    subprocess.run(
        [prefix + "gcc", *FLAGS, f"-I{tree.ROOT}", "-c", "-o", target, tmp_path / "t.c"], check=True
    )
    done = subprocess.run(
        [prefix + "objdump", "-d", target], capture_output=True, text=True, check=True
    )
    code = re.findall(r"(?m)^\s+[0-9a-f]+:\t[0-9a-f ]+\t(\S+)", done.stdout)
    branch = next(i for i, op in enumerate(code) if op.startswith("b"))
    assert branch + 1 <= 4, code
    assert not any(op in ("jal", "jalr", "call") for op in code)
    assert code.count("csrr") + code.count("rdtime") == 1
    returns = code.count("ret")
    assert len(code) - returns <= 40, code
