"""gdb's part of tools/bench/debugger: sourced into a gdb that is connected to a guest, it loads the
extension, runs each command many times, and prints one line of JSON.

$MEASURE holds, as JSON, the path of the extension, the number of rounds, and the commands.
"""

from __future__ import annotations

import json
import os
import time
from statistics import median

import gdb

extension, rounds, lines = json.loads(os.environ["MEASURE"])


def packets_of(line: str) -> int:
    """Runs a command and counts what gdb sends for it, by gdb's own log. That goes where output
    goes, also into what the commands the extension carries out return as text.
    """
    execute = gdb.execute
    texts: list[str] = []

    def logged(command: str, from_tty: bool = False, to_string: bool = False) -> object:
        text = execute(command, from_tty, to_string)
        texts.append(text or "")
        return text

    gdb.execute = logged
    try:
        execute("set debug remote 1")
        texts.append(execute(line, to_string=True))
        execute("set debug remote 0")
    finally:
        gdb.execute = execute
    return sum(text.count("Sending packet: ") for text in texts)


def measure(way: str, line: str) -> list[object]:
    """Way, command, packets sent, and median times in milliseconds."""
    from tools.gdb import skin

    session = skin.session()
    walls, cpus = [], []
    session.moved()
    packets = packets_of(line)
    for _ in range(rounds):
        session.moved()
        wall, cpu = time.perf_counter(), time.process_time()
        gdb.execute(line, to_string=True)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return [way, line, packets, 1e3 * median(walls), 1e3 * median(cpus)]


def main() -> None:
    """Loads, measures, prints."""
    start = time.process_time()
    gdb.execute(f"source {extension}")
    load = 1e3 * (time.process_time() - start)
    from tools.gdb import skin

    found: list[list[object]] = []
    memory = skin.session().inferior
    assert memory is not None, "connected to a guest"
    for way in ("monitor", "packets"):
        memory.same_host = way == "monitor"
        found += [measure(way, line) for line in lines]
    gdb.write("result " + json.dumps({"load": load, "commands": found}) + "\n")


main()
