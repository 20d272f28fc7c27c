"""docs/benchmarks: latest.json, the page of tables, the plots, and the comparison with what was stored before.

Relies on matplotlib for the plots. Everything on the page comes from latest.json, so the page says
nothing that a program can't read there.
"""
from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tools.bench.guests import ROOT

DOCS = ROOT / "docs" / "benchmarks"
LATEST = DOCS / "latest.json"
SLACK = 1.10  # how much more than before is a regression
OURS = "xv6-glass"
Record = dict[str, Any]

TARGETS = {  # what an operation may take at most
    "getpid": 150,
    "forkexit": 25_000,
    "forkexec": 80_000,
    "sbrk1_touch": 2_200,
    "sbrk256_touch": 350_000,
    "pipe_rtt": 3_000,
    "openclose": 8_000,
    "create": 120_000,
    "write4k": 60_000,
    "read4k_cached": 3_000,
    "unlink": 90_000,
    "share1": 900,
    "share16": 1_800,
    "share256": 12_000,
    "crypto64": 6_000,
    "crypto_per_byte": 1.0,
    "trace_event": 40,
}
CURVES = {  # of bench_load.c's growth(): what its sizes count, and what is divided by the size
    "map": ("map + unmap, per page", True),
    "fork": ("fork + exit + wait, per touched page of the parent", True),
    "block": ("read of a cached file, per block of 1 KiB", True),
    "inode": ("open + close of a file among n other inodes", False),
}
WALL_ROWS = {
    "boot_seconds": "power-on to prompt, 3 harts, s",
    "usertests_seconds": "`usertests -q`, each kernel's own, s",
    "usertests_processor_seconds": "the same, processor seconds of the host",
    "xv6_usertests_seconds": "`usertests -q`, xv6's program on both kernels, s",
    "xv6_usertests_processor_seconds": "the same, processor seconds of the host",
    "idle_percent": "8 harts with nothing to do, % of a host core",
}


def number(value: float | None) -> str:
    """A count for people: whole if large, two digits if small, - if there is none."""
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def rows(heading: list[str], body: list[list[str]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def table(ours: dict[str, float], others: dict[str, dict[str, float]]) -> str:
    """Operations by kernel, with our target, and how many times fewer ours takes than the first other."""
    body = []
    first: dict[str, float] = next(iter(others.values()), {})
    for name, value in ours.items():
        line = [name, number(value), number(TARGETS.get(name))]
        line += [number(counts.get(name)) for counts in others.values()]
        theirs = first.get(name)
        body.append(line + ([f"{theirs / value:.1f}" if theirs else "-"] if others else []))
    return rows(["operation", OURS, "at most", *others] + (["fewer by"] if others else []), body)


def growth_table(growth: dict[str, dict[str, float]]) -> str:
    """Each curve by size, divided by the size where that is what grows."""
    sizes = list(next(iter(growth.values())))
    body = []
    for name, (title, divided) in CURVES.items():
        values = growth[name]
        body.append([title] + [number(values[n] / (int(n) if divided else 1)) for n in sizes])
    return rows(["n", *sizes], body)


def tracing_table(record: Record) -> str:
    """A request and usertests -q by what is recorded: nothing, what is on from power-on, everything."""
    counts = record["instructions"] | record["tracing"]
    body = []
    for name in ("crypto64", "usertests"):
        untraced = counts[name + "_untraced"]
        line = [name, number(untraced)]
        for recorded in (name, name + "_all_traced"):
            line.append(
                f"{number(counts[recorded])} ({100 * (counts[recorded] / untraced - 1):+.1f} %)"
            )
        body.append(line)
    return rows(["instructions", "nothing", "as at power-on", "everything"], body)


# Instructions that an event can't do without, but for its arguments: it takes a slot, reads the clock, stores the time,
# the stamp (event, hart, pid) and the sequence number.
BARE_EVENT = 5


def events_table(record: Record) -> str:
    """What a request records with every event on, and the least that these records could cost."""
    emitted: dict[str, list[int]] = record["emitted"]
    body = [[name, str(n), str(arguments)] for name, (n, arguments) in emitted.items()]
    records = sum(n for n, _ in emitted.values())
    words = sum(n * arguments for n, arguments in emitted.values())
    counts = record["instructions"]
    untraced, all_traced = counts["crypto64_untraced"], counts["crypto64_all_traced"]
    each, least = (all_traced - untraced) / records, BARE_EVENT * records + words
    return rows(["event", "records", "arguments"], body) + (
        f"\n{records} records with {words} arguments; {each:.1f} instructions a record, all told. Slot, clock "
        f"and stores alone ({BARE_EVENT} and one for each argument) are {least} instructions, "
        f"{100 * least / untraced:.1f} % of the request; 5 % are {untraced / 20:.0f}, "
        f"or {untraced / 20 / records:.1f} for each record.\n"
    )


def throughput_table(throughput: Record) -> str:
    """Requests by number of harts, by instructions and by the clock."""
    one = throughput["1"]
    return rows(
        [
            "harts",
            "requests per million instructions of the busiest hart",
            "times one hart's",
            "requests per second by the clock",
            "times one hart's",
        ],
        [
            [
                n,
                f"{row['requests_per_million']:.1f}",
                f"{row['requests_per_million'] / one['requests_per_million']:.2f}",
                f"{row['requests_per_second']:,.0f}",
                f"{row['requests_per_second'] / one['requests_per_second']:.2f}",
            ]
            for n, row in throughput.items()
        ],
    )


def wall_table(wall: dict[str, dict[str, float]]) -> str:
    """Rows by kernel, and how many times less ours takes than the first other."""
    others = [name for name in wall if name != OURS]
    body = []
    for row, title in WALL_ROWS.items():
        ours, theirs = wall[OURS].get(row), [wall[name].get(row) for name in others]
        if row.startswith("xv6_") and others:  # its own run is of the same program
            theirs[0] = wall[others[0]].get(row.removeprefix("xv6_"))
        if ours is not None:
            ratio = f"{theirs[0] / ours:.1f}" if ours and theirs and theirs[0] else "-"
            body.append([title, number(ours), *map(number, theirs), ratio])
    return rows(["row", OURS, *others, "less by"], body)


def plots(record: Record) -> None:
    """instructions.svg, growth.svg and throughput.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "xv6-glass"  # the same figures give the same file
    from matplotlib import pyplot

    kernels = {OURS: record["instructions"], **record["others"]}
    names = [n for n, value in record["instructions"].items() if value >= 1]
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(names) * max(1, len(kernels) / 2) + 1))
    height = 0.8 / len(kernels)
    for i, (kernel, counts) in enumerate(kernels.items()):
        values = [counts.get(name, 0) for name in names]
        axes.barh([y + i * height for y in range(len(names))], values, height, label=kernel)
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(names))], names)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("instructions per operation")
    axes.legend()
    save(figure, "instructions.svg")

    figure, axes = pyplot.subplots(figsize=(8, 4))
    for name, (title, divided) in CURVES.items():
        curve = {int(n): value for n, value in record["growth"][name].items()}
        axes.plot(
            list(curve), [v / (n if divided else 1) for n, v in curve.items()], "o-", label=title
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("n: pages, blocks, inodes")
    axes.set_ylabel("instructions for each")
    axes.legend()
    save(figure, "growth.svg")

    figure, axes = pyplot.subplots(figsize=(8, 4))
    harts = [int(n) for n in record["throughput"]]
    for key, label in (
        ("requests_per_million", "by instructions of the busiest hart"),
        ("requests_per_second", f"by the clock, {record['made']['clocked']['machine']}"),
    ):
        values = [row[key] for row in record["throughput"].values()]
        axes.plot(harts, [value / values[0] for value in values], "o-", label=label)
    axes.plot(harts, harts, ":", label="one hart's, times harts")
    axes.set_xticks(harts)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("harts")
    axes.set_ylabel("throughput, times one hart's")
    axes.legend()
    save(figure, "throughput.svg")


def save(figure: Any, name: str) -> None:
    """Writes a plot that is the same for the same figures."""
    figure.tight_layout()
    figure.savefig(DOCS / name, metadata={"Date": None})


def made(command: str) -> dict[str, str]:
    """The command, the machine and the day of a measurement."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    cores = len([x for x in Path("/proc/cpuinfo").read_text().splitlines() if x[:9] == "processor"])
    qemu = subprocess.run(["qemu-system-riscv64", "--version"], capture_output=True, text=True)
    return {
        "command": command,
        "machine": f"{model}, {cores} cores",
        "qemu": qemu.stdout.splitlines()[0].replace("QEMU emulator version ", "").split()[0],
        "date": time.strftime("%Y-%m-%d"),
        "load": load(),
    }


def load() -> str:
    """The machine's load average of the last five minutes: processes that ran or wanted to."""
    return Path("/proc/loadavg").read_text().split()[1]


def sentence(m: dict[str, str]) -> str:
    """How a part was made."""
    return f"`{m['command']}`, QEMU {m['qemu']}, {m['machine']}, {m['date']}"


def loads(m: dict[str, str]) -> str:
    """How busy the machine was meanwhile, the guests included."""
    return f"load average {m['load']} when this began and {m['load_after']} when it ended"


def page(record: Record) -> str:
    """The text of docs/benchmarks/README.md."""
    parts = [
        "# Benchmarks\n",
        'Made by `make bench BENCH_TREES="DIR..."`, which writes this page, the plots and `latest.json`. '
        "What each operation is: `user/bench.c`. Why the figures are what they are: "
        "[performance](../performance.md). The figures of the trace tools, decoding among them: "
        + ("[trace](trace.md), by " if (DOCS / "trace.md").is_file() else "")
        + "`tools/trace/measure`.\n",
        "## Instructions per operation\n",
        "Counted by a QEMU plugin on one hart under `-icount`; the same on every machine. `make test` fails if one "
        f"rises by over 10 %.\nCounted by {sentence(record['made']['counted'])}, load average "
        f"{record['made']['counted']['load']}.\n",
        table(record["instructions"], record["others"]),
        "Where a tree has no figure it has not the calls, or, for a request, no `crypto_wait`: its client polls until "
        "its time slice ends.\n",
        "![instructions per operation](instructions.svg)\n",
        "## What recording costs\n",
        "A request is exact; `usertests -q` runs once each way, and such runs differ by about 1 %.\n",
        tracing_table(record),
        "Of one request with every event on:\n",
        events_table(record),
        "## Growth\n",
        "Instructions for each page, block or lookup, as there are more of them: linear or better, which `make test` "
        "checks. Counted in the same run.\n",
        growth_table(record["growth"]),
        "![growth](growth.svg)\n",
        "## Throughput\n",
        "1,000 requests of 4 KiB from 8 clients, each of which makes its data up and checks every byte of the answer; "
        "one server. By the clock a host can show as many harts as it has free cores, and each hart beyond "
        "that takes turns with the others. On a host whose cores are all taken (the load average tells) "
        "several harts got less by the clock than one, probably because a request wakes a process on another "
        "hart, whose thread first has to wait for a core; what a quiet one gave stands in "
        "[performance](../performance.md). So what says "
        "whether the kernel lets harts work side by side is the second measure: all harts run at the same "
        "time, and how many requests there are for each million instructions of the hart that executes most "
        "is what would bound a machine with a core for each hart. Waiting for locks is in it, `wfi` is not. "
        "Bare requests of 64 bytes, with no work at the client, did not rise when they were tried on a busy "
        "host.\n"
        f"Measured by {sentence(record['made']['clocked'])}, {loads(record['made']['clocked'])}.\n",
        throughput_table(record["throughput"]),
        "![throughput](throughput.svg)\n",
    ]
    if record.get("wall"):
        parts += [
            "## By the clock\n",
            f"Boot and idling: medians of {record['made']['clocked']['rounds']} rounds in turn. usertests: one run of "
            "the other kernel between two of each of ours, of which the mean. Only the ratios mean something.\n"
            f"Measured by {sentence(record['made']['clocked'])}, {loads(record['made']['clocked'])}.\n",
            wall_table(record["wall"]),
        ]
    return "\n".join(parts)


def write(record: Record) -> None:
    """Stores everything."""
    DOCS.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(record, indent=2) + "\n")
    (DOCS / "README.md").write_text(page(record))
    plots(record)


def stored() -> Record:
    """latest.json as it is; empty if there is none."""
    return json.loads(LATEST.read_text()) if LATEST.is_file() else {}


def regressions(record: Record) -> list[str]:
    """A line for each counted figure that is over 10 % above the stored one."""
    known = stored()
    pairs = [(n, record["instructions"].get(n), v) for n, v in known["instructions"].items()]
    for curve, values in known["growth"].items():
        now = record["growth"].get(curve, {})
        pairs += [(f"growth of {curve}, {n}", now.get(n), v) for n, v in values.items()]
    return [
        f"{name}: {number(now)} instructions, {number(before)} before"
        for name, now, before in pairs
        if now is None or now > before * SLACK
    ]


def faster_than_linear(growth: dict[str, dict[str, float]]) -> list[str]:
    """A line for each curve where one more page costs more among thousands than among hundreds."""
    found = []
    for curve, (_, divided) in CURVES.items():
        v = growth[curve]
        early, late = (v["1024"] - v["256"]) / 768, (v["4096"] - v["1024"]) / 3072
        if not divided:
            early, late = v["64"], v["4096"]
        if late > early * SLACK:
            found.append(
                f"{curve}: {number(late)} instructions for one more, {number(early)} before"
            )
    return found
