"""`check`: runs the rules over a trace; each violation with its records, each rule that cannot be decided with
the reason.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.trace import trace as normaliser
from tools.trace.rules import RULES, Rule, Run, Violation
from tools.trace.show import loss_lines
from tools.trace.text import Formatter
from tools.trace.trace import Trace
from tools.trace.tracefile import TraceError

SHOWN = 5  # violations of one rule shown in full


@dataclass
class Verdict:
    """What a rule says about a trace: violations, or why it can say nothing."""

    rule: Rule
    violations: list[Violation]
    undecided: str = ""

    @property
    def word(self) -> str:
        """ok, broken or undecided."""
        return "undecided" if self.undecided else "broken" if self.violations else "ok"


def undecidable(rule: Rule, trace: Trace) -> str:
    """Why this trace cannot decide the rule; empty if it can."""
    off = [e for e in rule.events if not trace.is_recorded(e)]
    if off:
        return f"not recorded throughout: {', '.join(off)}"
    if trace.lost and not rule.gaps:
        return f"{trace.lost} events were lost"
    return ""


def judge(trace: Trace, rules: list[Rule] | None = None) -> list[Verdict]:
    """The verdict of every rule."""
    run = Run(trace)
    verdicts = []
    for each in RULES if rules is None else rules:
        why = undecidable(each, trace)
        verdicts.append(Verdict(each, [] if why else list(each.look(run)), why))
    return verdicts


def show(trace: Trace, verdicts: list[Verdict]) -> None:
    """Prints the verdicts."""
    formatter = Formatter(trace)
    width = max(len(v.rule.name) for v in verdicts)
    for v in verdicts:
        print(f"{v.word:<10} {v.rule.name:<{width}}  {v.undecided or v.rule.demand}")
        for violation in v.violations[:SHOWN]:
            print(f"    {violation.text}")
            for block in formatter.lines(np.array(violation.records)):
                print("".join(f"      {line}\n" for line in block.splitlines()), end="")
        if len(v.violations) > SHOWN:
            print(f"    ... and {len(v.violations) - SHOWN} more")
    for line in loss_lines(trace):
        print(f"note       {line}")


def run(options: argparse.Namespace) -> int:
    """The subcommand: 1 if a rule is broken."""
    rules = RULES
    if options.rule:
        rules = [r for r in RULES if r.name in options.rule]
        unknown = set(options.rule) - {r.name for r in RULES}
        if unknown:
            raise TraceError(f"{', '.join(unknown)}: no such rule (xv6-trace check --list)")
    if options.list:
        for each in RULES:
            print(f"{each.name:<24} {each.demand}")
        return 0
    if options.trace is None:
        raise TraceError("which trace? give a file")
    trace = normaliser.load(Path(options.trace))
    verdicts = judge(trace, rules)
    if options.json:
        rows = [
            {
                "rule": v.rule.name,
                "verdict": v.word,
                "reason": v.undecided,
                "violations": [{"text": x.text, "records": list(x.records)} for x in v.violations],
            }
            for v in verdicts
        ]
        print(
            json.dumps({"verdicts": rows, "lost": trace.lost, "problems": trace.problems}, indent=1)
        )
    else:
        show(trace, verdicts)
    return int(any(v.violations for v in verdicts))
