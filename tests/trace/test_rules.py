"""Each rule on a trace that keeps it and on one that breaks it; and what losses and masks make undecidable."""

from __future__ import annotations

from typing import Callable

import pytest

from tests.trace.synthetic import DONE, INIT, Story, table
from tools.trace.check import judge
from tools.trace.rules import RULES, Rule

FRAME, ROOT, VA = 0x8100_0000, 0x8200_0000, 0x4000


def good() -> Story:
    """A run in which everything that rules look at happens as it should."""
    s = Story().process(1, "init").process(2, "crypto_srv", 0x8300_0000)
    s.alloc(pid=1, frame=ROOT, free=10)
    s.fork(pid=1, child=5, root=ROOT)
    s.alloc(pid=5, frame=FRAME, free=9)
    s.pte_set(pid=5, root=ROOT, va=VA, frame=FRAME, bits=0xD7)
    s.resize(pid=5, target=5, old=0x4000, new=0x5000)
    s.request(1).request(2)
    s.ref(pid=2, frame=FRAME, count=2)
    s.unref(pid=2, frame=FRAME, count=1)
    s.exit(pid=5, status=0)
    s.pte_clear(pid=5, root=ROOT, va=VA, frame=FRAME)
    s.free(pid=5, frame=FRAME, free=10)
    s.free(pid=5, frame=ROOT, free=11)
    s.wait(pid=1, child=5, status=0)
    return s


def clock_back() -> Story:
    s = good()
    s.note(pid=5, text="later", at=90_000_000)
    return s.note(pid=5, text="earlier", at=80_000_000)


def overtaken() -> Story:
    s = good()
    for number in (7, 8):
        s.enqueue(pid=5, request=number, va=0x5010, size=83, waiting=1)
    s.dequeue(pid=2, hart=1, request=8, client=5, va=0x5010, size=83)
    s.complete(pid=2, hart=1, request=8, client=5, outcome=2)
    s.dequeue(pid=2, hart=1, request=7, client=5, va=0x5010, size=83)
    return s.complete(pid=2, hart=1, request=7, client=5, outcome=2)


def unmapped_first() -> Story:
    s = good().enqueue(pid=5, request=7, va=0x5010, size=83, waiting=1)
    s.dequeue(pid=2, hart=1, request=7, client=5, va=0x5010, size=83)
    s.map(pid=2, hart=1, src=5, dst=2, to=0xC010, size=83)
    s.unmap(pid=2, hart=1, target=2, va=0xC010, size=83)
    s.state(pid=2, hart=1, op=0xC010, state=DONE)
    return s.complete(pid=2, hart=1, request=7, client=5, outcome=1)


def flag_into_nothing() -> Story:
    s = good().enqueue(pid=5, request=7, va=0x5010, size=83, waiting=1)
    s.dequeue(pid=2, hart=1, request=7, client=5, va=0x5010, size=83)
    s.map(pid=2, hart=1, src=5, dst=2, to=0xC010, size=83)
    s.state(pid=2, hart=1, op=0xF010, state=DONE)
    s.unmap(pid=2, hart=1, target=2, va=0xC010, size=83)
    return s.complete(pid=2, hart=1, request=7, client=5, outcome=1)


def mapped_twice() -> Story:
    s = good()
    s.map(pid=2, src=5, dst=2, to=0xC010, size=83)
    return s.map(pid=2, src=6, dst=2, to=0xC800, size=83)


def unmapped_twice() -> Story:
    s = good()
    s.map(pid=2, src=5, dst=2, to=0xC010, size=83)
    s.unmap(pid=2, target=2, va=0xC010, size=83)
    return s.unmap(pid=2, target=2, va=0xC010, size=83)


def freed_twice() -> Story:
    return good().free(pid=5, frame=FRAME, free=12)


def freed_while_mapped() -> Story:
    s = good().alloc(frame=FRAME, free=9).pte_set(root=0x8300_0000, va=VA, frame=FRAME, bits=0xD7)
    return s.free(frame=FRAME, free=10)


def allocated_in_use() -> Story:
    return good().alloc(frame=FRAME, free=9).alloc(frame=FRAME, free=8)


def one_reference_too_few() -> Story:
    s = good().alloc(frame=FRAME, free=9).ref(frame=FRAME, count=2)
    return s.free(frame=FRAME, free=10)


def held_up(busy: bool) -> Story:
    """A hart gives a reference back, is held up before it can say so, and the frame begins its next life meanwhile;
    or was busy with something else, so that it can't have been held up.
    """
    s = good().alloc(frame=FRAME, free=9).ref(frame=FRAME, count=2).free(frame=FRAME, free=10)
    s.alloc(frame=FRAME, free=9)
    if busy:
        s.note(pid=2, hart=3, text="not held up")
    return s.unref(pid=2, hart=3, frame=FRAME, count=1)


def not_held_up() -> Story:
    return held_up(True)


def size_jumps() -> Story:
    s = good().resize(pid=2, target=2, old=0xC000, new=0xD000)
    return s.resize(pid=2, target=2, old=0xE000, new=0xF000)


def mapped_beyond_size() -> Story:
    s = good().resize(pid=2, target=2, old=0xC000, new=0xD000)
    return s.map(pid=2, src=5, dst=2, to=0xD010, size=83)


def pages_left_behind() -> Story:
    s = good().alloc(pid=1, frame=ROOT, free=9).fork(pid=1, child=6, root=ROOT)
    s.alloc(pid=6, frame=FRAME, free=8).pte_set(pid=6, root=ROOT, va=VA, frame=FRAME, bits=0xD7)
    return s.exit(pid=6, status=0).free(pid=6, frame=ROOT, free=9)


def never_ends() -> Story:
    s = good().enqueue(pid=5, request=9, va=0x5010, size=83, waiting=1)
    return s.note(pid=5, text="much later", at=s.now + 50_000_000)


def served_unanswered() -> Story:
    s = good().enqueue(pid=5, request=9, va=0x5010, size=83, waiting=1)
    s.dequeue(pid=2, hart=1, request=9, client=5, va=0x5010, size=83)
    s.map(pid=2, hart=1, src=5, dst=2, to=0xC010, size=83)
    s.state(pid=2, hart=1, op=0xC010, state=INIT)
    s.unmap(pid=2, hart=1, target=2, va=0xC010, size=83)
    return s.complete(pid=2, hart=1, request=9, client=5, outcome=1)


def dead_man_talks() -> Story:
    return good().enqueue(pid=5, request=9, va=0x5010, size=83, waiting=1)


BROKEN: list[tuple[str, Callable[[], Story], str]] = [
    ("time-goes-on", clock_back, "earlier time"),
    ("first-in-first-out", overtaken, "request 8 is taken before request 7"),
    ("steps-nest", unmapped_first, "state changed after unmap"),
    ("state-is-mapped", flag_into_nothing, "0xf010"),
    ("mapped-once", mapped_twice, "page 0xc000 is mapped twice"),
    ("mapped-once", unmapped_twice, "was not mapped"),
    ("frames-are-freed-once", freed_twice, "freed twice"),
    ("frames-are-freed-once", freed_while_mapped, "maps it"),
    ("frames-are-freed-once", allocated_in_use, "allocated while it is in use"),
    ("counts-add-up", one_reference_too_few, "freed with 2 references"),
    ("counts-add-up", not_held_up, "freed with 2 references"),
    ("size-follows", size_jumps, "size was 0xd000"),
    ("size-follows-mappings", mapped_beyond_size, "mapped up to 0xe000"),
    ("exit-leaves-nothing", pages_left_behind, "freed with 1 pages mapped"),
    ("requests-end", never_ends, "request 9"),
    ("served-means-answered", served_unanswered, "state never changed"),
    ("the-dead-are-silent", dead_man_talks, "is dead and yet does enqueue"),
]


def test_every_rule_has_a_failing_trace() -> None:
    """The table above covers the table of rules."""
    assert {name for name, _, _ in BROKEN} == {r.name for r in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_a_sound_run_passes(rule: Rule) -> None:
    """No rule finds fault with a sound run, and each decides it."""
    verdict = judge(good().trace(), [rule])[0]
    assert verdict.word == "ok", verdict.violations or verdict.undecided


@pytest.mark.parametrize("name,story,text", BROKEN, ids=[f"{b[0]}-{b[1].__name__}" for b in BROKEN])
def test_a_broken_run_is_named(name: str, story: Callable[[], Story], text: str) -> None:
    """The rule names the violation and the records that show it."""
    trace = story().trace()
    rule = next(r for r in RULES if r.name == name)
    verdict = judge(trace, [rule])[0]
    assert verdict.word == "broken"
    assert any(text in v.text for v in verdict.violations), [v.text for v in verdict.violations]
    assert all(0 <= i < len(trace.records) for v in verdict.violations for i in v.records)


def test_a_record_held_up_is_in_its_own_life() -> None:
    """A host may stop a hart between counting and emitting for as long as the frame's next life."""
    rule = next(r for r in RULES if r.name == "counts-add-up")
    verdict = judge(held_up(False).trace(), [rule])[0]
    assert verdict.word == "ok", verdict.violations


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_knows_what_it_needs(rule: Rule) -> None:
    """Records lost in the middle, or any event it needs switched off for a while: undecided, with the reason."""
    story = good()
    story.lose(3).note(pid=5, text="after")
    verdict = judge(story.trace(), [rule])[0]
    assert (verdict.word, "lost" in verdict.undecided) == (
        ("ok", False) if rule.gaps else ("undecided", True)
    )
    everything = (1 << 63) - 1
    for event in rule.events:
        story = good().mask(old=everything, new=everything & ~(1 << table().id(event)))
        verdict = judge(story.mask(old=0, new=everything).trace(), [rule])[0]
        assert verdict.word == "undecided" and event in verdict.undecided


def test_losses_make_rules_undecidable() -> None:
    """A rule that cannot do without the lost records says so, instead of accusing or acquitting."""
    story = freed_twice()
    story.lose(12).note(pid=5, text="after")
    verdicts = {v.rule.name: v for v in judge(story.trace())}
    assert verdicts["frames-are-freed-once"].word == "undecided"
    assert "12 events were lost" in verdicts["frames-are-freed-once"].undecided
    assert verdicts["time-goes-on"].word == "ok"


def test_events_that_were_off_make_rules_undecidable() -> None:
    """With the frame events off nothing is said about frames; requests are still judged."""
    story = Story(everything=False).process(2, "crypto_srv").request(1)
    verdicts = {v.rule.name: v for v in judge(story.trace())}
    assert "alloc" in verdicts["frames-are-freed-once"].undecided
    assert verdicts["steps-nest"].word == "ok"
    off = Story().process(2, "crypto_srv").request(1)
    off.mask(old=(1 << 29) - 1, new=(1 << 29) - 2).request(2)
    verdicts = {v.rule.name: v for v in judge(off.trace())}
    assert "enqueue" in verdicts["steps-nest"].undecided
