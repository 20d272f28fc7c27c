"""Command line of the soaks: python3 -m tests.soak [--minutes M] [--seed S] [NAME...]; no name means all of them.

Exit status: 0 nothing found, 1 findings, 2 usage. A soak that finds something doesn't keep the others from running.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from types import ModuleType

from tests import soak
from tools.commandline import STATUS, Parser


def modules() -> dict[str, ModuleType]:
    """Every soak by its name."""
    names = [m.name for m in pkgutil.iter_modules(soak.__path__) if not m.name.startswith("_")]
    return {name: importlib.import_module(f"tests.soak.{name}") for name in names}


def one(name: str, module: ModuleType, minutes: float, seed: int) -> bool:
    """Runs a soak; whether it found nothing."""
    print(f"{name}: {minutes:g} minutes, seed {seed}", flush=True)
    start = time.monotonic()
    try:
        module.run(minutes, seed)
    except Exception:  # whatever it was, the next soak is another matter
        traceback.print_exc()
        print(f"{name}: FAILED after {time.monotonic() - start:.0f} s", flush=True)
        return False
    print(f"{name}: OK after {time.monotonic() - start:.0f} s", flush=True)
    return True


def main() -> int:
    """Runs what the command line names."""
    there = modules()
    listing = "\n".join(
        f"  {name:12}{(m.__doc__ or '').splitlines()[0]} ({m.MINUTES:g} minutes)"
        for name, m in there.items()
    )
    parser = Parser(
        prog="soak",
        description="The long forms of the tests.",
        epilog=f"soaks:\n{listing}\n\n{STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all if none is named")
    parser.add_argument("--minutes", type=float, help="for each; its own default if not given")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (1)")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in there:
            parser.error(f"{name}: no such soak; there are {', '.join(there)}")
    results = [
        one(name, there[name], arguments.minutes or there[name].MINUTES, arguments.seed)
        for name in arguments.names or there
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
