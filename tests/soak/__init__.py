"""The long forms of the tests, run by hand: `make soak`, `make soak SOAK="crash load" MINUTES=5`.

Each module of this package but __main__ is one soak: the first line of its docstring says what it
does, MINUTES how long it takes if nobody says otherwise, and run(minutes, seed) does it. It prints
its figures with figure() and raises AssertionError for a finding.
"""

from __future__ import annotations


def figure(what: str, value: object) -> None:
    """Prints one measured number as docs/reliability.md quotes it."""
    print(f"  {what}: {value}", flush=True)
