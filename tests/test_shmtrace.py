"""shmtrace in a guest: the eight steps of a request, filters, counts, following, saving, losses."""

import re

import pytest

from tests.harness.guest import Boot

STEPS = (
    ("crypto_cli", "state", "1 request written"),
    ("crypto_cli", "enqueue", "2 queued"),
    ("crypto_srv", "dequeue", "3 taken by the server"),
    ("crypto_srv", "map", "4 client's pages mapped"),
    ("crypto_srv", "state", "5 header read, at work"),
    ("crypto_srv", "state", "6 flag raised"),
    ("crypto_srv", "unmap", "7 unmapped"),
    ("crypto_srv", "complete", "8 client released"),
)
LINE = re.compile(r"^ *(\d+\.\d{6}) +(\d+) +(\d+) (\S+) +(\w+) +(.*)$")


def rows(text: str) -> list[tuple[float, int, int, str, str, str]]:
    """The event lines of shmtrace's output: time, hart, pid, program, event, arguments."""
    found = [LINE.match(line) for line in text.splitlines()]
    return [
        (float(m[1]), int(m[2]), int(m[3]), m[4], m[5], m[6])
        for m in found
        if m and m[5] != "event"
    ]


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_a_request_reads_as_its_steps(boot: Boot, cpus: int) -> None:
    """`shmtrace crypto_cli` shows the life of the request, in order, and nobody else's events."""
    guest = boot(cpus=cpus)
    seen = rows(guest.run("shmtrace crypto_cli"))
    steps = [(r[3], r[4], r[5].partition("# ")[2]) for r in seen if "# " in r[5]]
    assert tuple(steps) == STEPS
    times = [r[0] for r in seen]
    assert times == sorted(times)
    assert {r[3] for r in seen} <= {"crypto_cli", "crypto_srv", "shmtrace", "sh"}
    arguments = {(r[4], "DONE" in r[5]): r[5] for r in seen}
    assert "src=" in arguments["map", False] and ":crypto_cli" in arguments["map", False]
    assert "type=DECRYPT" in arguments["state", True] and "state=DONE" in arguments["state", True]
    assert "outcome=served" in arguments["complete", False]


def test_mapping_tests_and_the_whole_history(boot: Boot) -> None:
    """Without a command: all that happened so far, oldest first, filtered by event and by process."""
    guest = boot()
    guest.run("shmem_test1")
    guest.run("shmem_test2")
    seen = rows(guest.run("shmtrace -e map,unmap"))
    assert [r[4] for r in seen] == ["map", "map", "unmap"]
    assert re.search(
        r"src=(\d+):shmem_test1 dst=(\d+):shmem_test1 from=0x\w+ to=0x\w+ size=\d+", seen[0][5]
    )
    pid = seen[1][2]
    mine = rows(guest.run(f"shmtrace -p {pid}"))
    assert mine and all(r[2] == pid or f"={pid}:" in r[5] for r in mine)
    assert [r[4] for r in mine if r[4] in ("map", "unmap")] == ["map", "unmap"]
    everything = rows(guest.run("shmtrace -e shm,proc,server"))
    assert {"exec", "fork", "exit", "wait", "server_start", "map"} <= {r[4] for r in everything}


def test_counts_and_latencies(boot: Boot) -> None:
    """-c counts events and gives each stage's latencies in order min <= median <= p99 <= max."""
    guest = boot()
    for _ in range(5):
        guest.run("crypto_cli")
    text = guest.run("shmtrace -c -e shm")
    counts = dict(re.findall(r"(?m)^(\w+) +(\d+)$", text))
    assert counts["enqueue"] == counts["dequeue"] == counts["complete"] == "5"
    stages = re.findall(r"(?m)^(\w+ to \w+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", text)
    assert [s[0] for s in stages] == [
        "enqueue to dequeue",
        "dequeue to state",
        "state to unmap",
        "enqueue to unmap",
    ]
    for _, count, *values in stages:
        assert int(count) == 5
        assert [float(v) for v in values] == sorted(float(v) for v in values)
    boxes = re.findall(r"(?m)^ +\d+ us and more +(\d+) #+$", text)
    assert sum(map(int, boxes)) == 5


def test_events_are_switched_on_and_off(boot: Boot) -> None:
    """-E and -d choose what is recorded; -l says so; asking for what is off says how to get it."""
    guest = boot()
    assert re.search(r"(?m)^sys_enter +sys +no", guest.run("shmtrace -l"))
    assert "shmtrace -E sys_enter begins to" in guest.run("shmtrace -e sys_enter")
    guest.run("shmtrace -E sys")
    assert re.search(r"(?m)^sys_enter +sys +yes", guest.run("shmtrace -l"))
    guest.run("echo hello")
    calls = rows(guest.run("shmtrace -e sys"))
    assert any(r[3] == "echo" and r[4] == "sys_enter" and "call=write" in r[5] for r in calls)
    guest.run("shmtrace -d sys,map")
    assert re.search(r"(?m)^map +shm +no", guest.run("shmtrace -l"))
    guest.run("shmem_test1")
    assert not rows(guest.run("shmtrace -e map"))


def test_a_command_is_traced_with_its_children(boot: Boot) -> None:
    """System calls asked for with -e are recorded for the command only, and its exit status is passed on."""
    guest = boot()
    seen = rows(guest.run("shmtrace -e sys,fork,exit shmem_test2"))
    pids = {r[2] for r in seen if r[3] == "shmem_test2"}
    assert len(pids) == 2
    assert any("call=map_shared_pages" in r[5] for r in seen)
    assert re.search(r"(?m)^sys_enter +sys +no", guest.run("shmtrace -l"))
    guest.run("shmtrace -e exit grep qqqq README", status=None)
    assert guest.status == 1
    guest.run("shmtrace nonsense", status=None)
    assert guest.status != 0


def test_following(boot: Boot) -> None:
    """-f shows what others do meanwhile, until Enter is typed; -n stops by itself."""
    guest = boot()
    guest.run("(sleep 3; crypto_cli) & shmtrace -e shm -f -n 8")
    start = len(guest.console)
    guest.keys("(sleep 3; shmem_test1) & shmtrace -e map -f\n")
    guest.expect(r" map .*shmem_test1")
    guest.keys("\n")
    guest.expect(r"\$ $")
    assert len(rows(guest.console[start:])) == 1


def test_losses_are_counted(boot: Boot) -> None:
    """A ring that has wrapped says how many events it forgot, and still shows the newest."""
    guest = boot(cpus=1, extra=("-append", "trace_records=64"))
    for _ in range(12):
        guest.run("echo hello")
    text = guest.run("shmtrace")
    found = re.search(r"hart 0: (\d+) older events were overwritten", text)
    seen = rows(text)
    assert found and int(found[1]) > 20
    assert len(seen) == 64
    assert seen[-1][3] == "shmtrace"


def test_a_note_marks_a_place(boot: Boot) -> None:
    """-m puts words of the user's into the trace, and nothing else."""
    guest = boot(cpus=1)
    assert guest.run("shmtrace -m here-it-begins") == ""
    seen = rows(guest.run("shmtrace -e note"))
    assert [r[5] for r in seen] == ['text="here-it-begins"']


def test_saving(boot: Boot) -> None:
    """-w saves the events; tests/trace reads such a file on the host."""
    guest = boot()
    guest.run("crypto_cli")
    text = guest.run("shmtrace -w trace.bin")
    saved = re.search(r"(\d+) events saved in trace.bin", text)
    assert saved and int(saved[1]) > 10
    guest.run("shmtrace -w /none/of/this", status=None)
    assert guest.status != 0


@pytest.mark.parametrize("words", ["-x", "-p", "-p x", "-e nothing", "-n -1"])
def test_bad_usage(boot: Boot, words: str) -> None:
    """Wrong arguments give a message and a failure, and record nothing."""
    guest = boot(cpus=1)
    text = guest.run(f"shmtrace {words}", status=None)
    assert guest.status != 0
    assert "usage" in text or "no such event" in text
