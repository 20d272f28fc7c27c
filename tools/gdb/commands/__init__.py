"""The commands themselves, each free of gdb: arguments in, report out."""

from tools.gdb.commands.frames import DiffCommand, Frames, SnapshotCommand
from tools.gdb.commands.pagetable import PageTable, WalkCommand
from tools.gdb.commands.processes import Locks, Ps
from tools.gdb.commands.shmem import Shmem
from tools.gdb.commands.trace import ShmTrace

COMMANDS = (
    PageTable,
    WalkCommand,
    Shmem,
    Ps,
    Locks,
    Frames,
    ShmTrace,
    SnapshotCommand,
    DiffCommand,
)
