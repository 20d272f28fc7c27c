"""Figures of what a run recorded: the slots of a trace ring, and requests waiting for the server."""

from __future__ import annotations

from tools.docs.drawing.svg import Drawing
from tools.guest import Kernel
from tools.guest.events import EventTable
from tools.guest.ring import RECORD, rings
from tools.trace.requests import Requests
from tools.trace.trace import Trace

COLUMNS = 8  # slots in a row of the ring's figure
SHOWN = 10  # requests in the queue's figure
CATEGORIES = {
    "shm": "violet",
    "proc": "blue",
    "mem": "green",
    "server": "amber",
    "trace": "red",
    "user": "teal",
}
STAGES = (
    ("enqueue", "dequeue", "amber", "queued"),
    ("dequeue", "state", "blue", "mapped, header read, at work"),
    ("state", "complete", "green", "answered, unmapped"),
)


def ring(kernel: Kernel) -> Drawing:
    """Every slot of hart 0's ring as it lies in memory: sequence number, event, pid; the head between two laps."""
    found, table = rings(kernel)[0], EventTable.of(kernel.elf)
    head = found.head()
    raw = kernel.memory.read(found.records, found.capacity * RECORD.size)
    width, height, left, top = 106, 46, 24, 84
    rows = found.capacity // COLUMNS
    drawing = Drawing(left * 2 + width * COLUMNS, top + height * rows + 46, "A trace ring")
    drawing.text(left, 30, f"The ring of hart 0 in memory: {found.capacity} slots", "title")
    drawing.text(
        left,
        50,
        f"head = {head}: the next record goes into slot {head} mod {found.capacity} = "
        f"{head % found.capacity}. A slot shows its sequence number, the event and the pid.",
        "small faint",
    )
    used: dict[str, str] = {}
    for slot, (_, sequence, event, _, pid, *_args) in enumerate(RECORD.iter_unpack(raw)):
        x, y = left + width * (slot % COLUMNS), top + height * (slot // COLUMNS)
        drawing.rect(x + 2, y + 2, width - 4, height - 4, "panel")
        if sequence:
            info = table.events[event]
            used[info.category] = hue = CATEGORIES.get(info.category, "grey")
            new = sequence > head - head % found.capacity  # of the lap the writer is in
            drawing.rect(x + 2, y + 2, width - 4, height - 4, hue, opacity=0.5 if new else 0.18)
            drawing.text(x + 10, y + 19, str(sequence), "mono")
            drawing.text(x + 10, y + 36, info.name, "small")
            drawing.text(x + width - 10, y + 36, str(pid), "small end faint")
        if slot == head % found.capacity:
            drawing.path(f"M{x + 1},{y + 1} v{height - 2}", "red-line", 4)
            drawing.text(x + width - 10, y + 19, "head", "small red end")
    for i, (category, hue) in enumerate(sorted(used.items())):
        drawing.rect(left + 100 * i, drawing.height - 32, 14, 14, hue, opacity=0.5)
        drawing.text(left + 20 + 100 * i, drawing.height - 21, category, "small")
    drawing.text(
        drawing.width - left, drawing.height - 21, "pale: the lap before", "small faint end"
    )
    return drawing


def queue(trace: Trace) -> Drawing:
    """A bar for each request from crypto_op() to its release, by stage, in the order they were queued.

    Those around the one that waited longest.
    """
    requests = [r for r in Requests(trace).all if {"enqueue", "dequeue", "complete"} <= {*r.steps}]
    time = trace.records["time"]
    waited = [int(time[r.steps["dequeue"]] - time[r.steps["enqueue"]]) for r in requests]
    first = max(0, waited.index(max(waited)) - SHOWN // 2)
    requests = requests[first : first + SHOWN]
    start = min(int(time[r.steps["enqueue"]]) for r in requests)
    end = max(int(time[r.steps["complete"]]) for r in requests)
    left, right, top, step = 190, 820, 92, 26
    scale = (right - left) / max(1, end - start)
    drawing = Drawing(850, top + step * len(requests) + 84, "Requests and their server")
    drawing.text(24, 30, "Each request from the queue to its answer", "title")
    drawing.text(
        24, 50, "First in, first out; a request waits while another is served.", "small faint"
    )
    for i, r in enumerate(requests):
        y = top + step * i
        name = trace.name_at(r.client, r.steps["enqueue"])
        drawing.text(24, y + 15, f"{r.number}", "mono")
        drawing.text(54, y + 15, f"{name} ({r.client})", "small faint")
        for since, until, hue, words in STAGES:
            if since not in r.steps or until not in r.steps:
                continue
            a, b = (int(time[r.steps[s]]) - start for s in (since, until))
            drawing.rect(
                left + a * scale,
                y + 2,
                max(1.5, (b - a) * scale),
                step - 7,
                hue,
                opacity=0.7,
                tip=f"request {r.number}, {words}: {(b - a) / trace.frequency * 1e6:.0f} us",
            )
    y = top + step * len(requests) + 8
    drawing.path(f"M{left},{y} H{right}", "line")
    for part in range(5):
        x = left + (right - left) * part / 4
        microseconds = (end - start) * part / 4 / trace.frequency * 1e6
        drawing.path(f"M{x},{y} v5", "line")
        drawing.text(x, y + 20, f"{microseconds:,.0f} us", "small faint middle")
    for i, (_, _, hue, words) in enumerate(STAGES):
        drawing.rect(24 + 240 * i, drawing.height - 30, 14, 14, hue, opacity=0.7)
        drawing.text(46 + 240 * i, drawing.height - 19, words, "small")
    return drawing
