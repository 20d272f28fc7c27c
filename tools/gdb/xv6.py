"""Loads the extension into gdb: `source tools/gdb/xv6.py`, or `gdb -x`. Works with any xv6-riscv
kernel.

Commands: pagetable, walk, shmem, ps, locks, frames, shmtrace, snapshot, diff, user; replay and
who-wrote for a recorded run. docs/gdb.md and docs/replay.md show them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tools.gdb import functions, printers, rewind, skin, user  # noqa: E402

for part in (skin, functions, printers, user, rewind):
    part.install()
