"""The ring's protocol on the host: interrupts in the middle of an emission, a reader at the same time.

The kernel's own files are compiled for the host with a timer signal in the part of the devices.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "trace"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test program."""
    folder = tmp_path_factory.mktemp("ring")
    out = folder / "ring_host"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command: list[str | Path] = ["cc", *flags, f"-I{ROOT / 'tests' / 'host'}", f"-I{ROOT}"]
    for name in ("trace", "systrace"):
        source = ROOT / "kernel" / "trace" / f"{name}.c"
        kernel = [*command, "-ffreestanding", "-c", "-o", folder / f"{name}.o", source]
        subprocess.run(kernel, check=True)
    objects = [folder / "trace.o", folder / "systrace.o"]
    subprocess.run([*command, "-o", out, HERE / "ring_host.c", *objects], check=True)
    return out


@pytest.mark.parametrize("records", [64, 300])
@pytest.mark.parametrize("period,pause", [(500, 0), (200, 1), (200, 100)])
def test_records_are_whole_and_counted(ring: Path, records: int, period: int, pause: int) -> None:
    """Each record is read once, whole and in order, or counted as lost."""
    bootargs = f"quiet trace=sched,alloc trace_records={records} x=y"
    command = [str(ring), "300000", str(period), str(pause), bootargs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    words = done.stdout.replace(",", "").split()
    assert int(words[2]) > 0, "no interrupt came between emissions"
