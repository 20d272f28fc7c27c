"""The one shape of every host tool's command line, and the meaning of its exit status (docs/tools.md).

Standard library only: tools/run needs it on a machine where nothing else is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

TREE = Path(__file__).resolve().parent.parent
STATUS = "Exit status: 0 fine, 1 findings, 2 usage or environment."


def version() -> str:
    """This tree's version, such as 1.0.0; kernel/version.h says it."""
    found = re.search(r'VERSION "(.*)"', (TREE / "kernel" / "version.h").read_text())
    return found[1] if found else "unknown"


class Parser(argparse.ArgumentParser):
    """A parser whose --help ends with the exit status, and whose mistakes are one line.

    `prog` is to be given; a subcommand's parser has a space in it, and no --version of its own.
    """

    def __init__(self, *arguments: Any, **options: Any):
        options.setdefault("epilog", STATUS)
        super().__init__(*arguments, **options)
        if " " not in self.prog:
            add_version(self)

    def error(self, message: str) -> NoReturn:
        """Ends the tool with status 2; `message` names the argument."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)


def add_version(parser: argparse.ArgumentParser) -> None:
    """--version: the tool's name and the project's version."""
    parser.add_argument(
        "--version",
        action="version",
        version=f"{parser.prog} (xv6-glass) {version()}",
        help="show the version and exit",
    )
