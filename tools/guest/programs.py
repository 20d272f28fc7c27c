"""The executables of a guest's user programs, found beside the kernel by the name a process
carries.
"""

from __future__ import annotations

import os
from typing import Optional

from tools.guest.elf import Elf
from tools.guest.memory import GuestError

FOLDERS = ("user", "build/user", ".")  # from the tree's root: xv6's place, and this project's
NAME = 15  # characters of a name that fit p->name


class Programs:
    """Looks in the tree the kernel lies in, and in `more` folders. Files are opened when asked
    for.
    """

    def __init__(self, kernel_path: str, more: tuple[str, ...] = ()):
        here = os.path.dirname(os.path.abspath(kernel_path))
        roots = [os.path.dirname(here), os.path.dirname(os.path.dirname(os.path.dirname(here)))]
        self.folders = [*more, *(os.path.join(root, f) for root in roots for f in FOLDERS)]
        self._opened: dict[str, Optional[Elf]] = {}

    def find(self, name: str) -> Optional[Elf]:
        """The program called `name`; None if there is no such file, or it is not an executable."""
        name = name.rsplit("/", 1)[-1]
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> Optional[Elf]:
        for folder in self.folders:
            path = os.path.join(folder, "_" + name)
            if len(name) >= NAME and not os.path.exists(path):
                path = self._longer(folder, name) or path
            if os.path.exists(path):
                try:
                    return Elf(path)
                except GuestError:
                    continue
        return None

    @staticmethod
    def _longer(folder: str, name: str) -> Optional[str]:
        """The one file whose name starts with a name that was cut short."""
        try:
            found = [f for f in os.listdir(folder) if f.startswith("_" + name)]
        except OSError:
            return None
        return os.path.join(folder, found[0]) if len(found) == 1 else None

    def names(self) -> list[str]:
        """All programs there are, for completion."""
        found: set[str] = set()
        for folder in self.folders:
            if os.path.isdir(folder):
                found.update(
                    f[1:] for f in os.listdir(folder) if f.startswith("_") and "." not in f
                )
        return sorted(found)
