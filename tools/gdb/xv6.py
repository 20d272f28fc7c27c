"""Loads the extension into gdb: `source tools/gdb/xv6.py`, or `gdb -x`. Works with any xv6-riscv
kernel.

Commands: pagetable, walk, shmem, ps, locks, frames, shmtrace, snapshot, diff, user. docs/gdb.md
shows them.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tools.gdb import functions, printers, skin, user  # noqa: E402

for part in (skin, functions, printers, user):
    part.install()
