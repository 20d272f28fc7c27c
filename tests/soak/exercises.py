"""Every exercise of docs/exercises.md: what the page says one observes is there, and not without the mistake."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.harness import exercises, tree
from tests.harness.exercises import Exercise
from tests.soak import figure

MINUTES = 10


def wrong(exercise: Exercise, folder: Path, scratch: Path, planted: Exercise | None) -> list[str]:
    """Carries it out with its mistake; what could not be observed."""
    built = exercises.plant(exercise, folder, planted)
    try:
        return exercises.carry_out(exercise, folder, scratch, built)
    except AssertionError as failure:
        return [str(failure)]


def run(minutes: float, seed: int) -> None:
    """Carries all out once, however long it takes: first without mistakes, then each with its own."""
    del minutes, seed
    with tempfile.TemporaryDirectory(prefix="exercises.") as name:
        scratch = Path(name)
        folder = tree.clone(scratch / "tree")
        there = exercises.exercises()
        findings, planted = [], None
        built = exercises.plant(None, folder, None)
        for exercise in there.values():
            if not exercises.carry_out(exercise, folder, scratch, built, tries=1):
                findings.append(f"{exercise.id}: the same without the mistake")
        figure("carried out without a mistake", len(there))
        for exercise in there.values():
            for text in wrong(exercise, folder, scratch, planted):
                findings.append(f"{exercise.id}: not to be seen: {text}")
            planted = exercise
        figure("carried out with their mistakes", len(there))
        assert not findings, "\n".join(findings)
