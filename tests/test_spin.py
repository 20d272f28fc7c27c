"""The Promela models beside the code they model: nothing wrong in any state, and something once a key line is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import spin

REMOVED = [(model, macro) for model in spin.MODELS for macro in spin.macros(model)]


@pytest.mark.parametrize("model", spin.MODELS, ids=lambda m: m.name)
def test_model_holds(model: Path, tmp_path: Path) -> None:
    """Every state within the bounds is searched; no assertion fails, nobody waits for ever."""
    verdict = spin.check(model, tmp_path, *spin.SHORT.get(model.name, ()))
    assert verdict.error == ""
    assert verdict.states > 1000


@pytest.mark.parametrize("model, macro", REMOVED, ids=lambda x: str(getattr(x, "name", x)))
def test_each_key_line_is_needed(model: Path, macro: str, tmp_path: Path) -> None:
    """Without it the model fails: the line is there for a reason, and the model sees it."""
    verdict = spin.check(model, tmp_path, *spin.SHORT.get(model.name, ()), macro)
    assert verdict.error != ""


def test_the_lists_of_key_lines_are_read() -> None:
    """Each macro a model tests is one its opening comment explains, and the other way round."""
    for model in spin.MODELS:
        named = set(spin.macros(model))
        body = model.read_text().split("*/", 1)[1]
        used = {line.split()[1] for line in body.splitlines() if line.startswith("#if")}
        assert used - {"CLIENTS", "DEATHS", "TOTAL"} == named and len(named) >= 5, model.name
