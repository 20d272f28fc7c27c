"""crypto_cli: bytes go out and come back, and its status and messages tell success from refusal."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.harness import image
from tests.harness.guest import Boot, Guest

MESSAGE = "Meet me at the shared page: two processes, one frame."
LARGEST = (12 + 256) * 1024  # bytes of the largest file


@pytest.mark.parametrize("cpus", [1, 3, 8])
def test_the_demonstration_decrypts(boot: Boot, cpus: int) -> None:
    """Again and again, alone and with others at the same time."""
    guest = boot(cpus=cpus)
    for _ in range(3):
        assert guest.run("crypto_cli").endswith(f"with key OS2024: {MESSAGE}\n")
    text = guest.run("crypto_cli | cat & crypto_cli | cat & crypto_cli | cat; sleep 10")
    assert text.count(MESSAGE) == 3


def round_trip(guest: Guest, name: str, key: str) -> None:
    """Encrypts a file and decrypts the result, on the guest."""
    guest.run(f"crypto_cli encrypt {key} < {name} > e")
    guest.run(f"crypto_cli decrypt {key} < e > d")
    guest.run(f"cmp {name} d")


SIZES = [0, 1, 5, 7, 4095, 4096, 4097, 65536, 65537, LARGEST]


@pytest.mark.parametrize("cpus", [1, 3])
def test_files_come_back_byte_for_byte(boot: Boot, built: None, tmp_path: Path, cpus: int) -> None:
    """From nothing to the largest file, with keys shorter and longer than a word."""
    files = []
    for size in SIZES:
        files.append(tmp_path / f"f{size}")
        files[-1].write_bytes(random.Random(size).randbytes(size))
    guest = boot(image=image.make(tmp_path, files=files), cpus=cpus)
    for file in files:
        for key in ("k", "OS2024", "a-key-of-more-than-sixteen-bytes"):
            round_trip(guest, file.name, key)
            if file.stat().st_size > len(key):
                guest.run(f"cmp {file.name} e", status=1)
    guest.run("rm e d")


def test_the_cipher_is_xor_with_the_repeated_key(boot: Boot) -> None:
    """Known bytes: a ^ A is a space, a ^ B a #, newline ^ A a K."""
    guest = boot()
    assert guest.run("echo aaaa | crypto_cli encrypt AB") == " # #K"
    assert guest.run("echo aaaa | crypto_cli decrypt AB") == " # #K"


@pytest.mark.parametrize(
    "command, status, message",
    [
        ("crypto_cli encrypt", 2, "usage: crypto_cli"),
        ("crypto_cli cypher k", 2, "usage: crypto_cli"),
        ("crypto_cli encrypt k more", 2, "usage: crypto_cli"),
    ],
)
def test_wrong_usage(boot: Boot, command: str, status: int, message: str) -> None:
    guest = boot()
    text = guest.run(command, status=status)
    assert text.startswith(message) and text.count("\n") == 1


def test_many_clients_at_once(boot: Boot) -> None:
    """Pipelines of clients: each stage's requests wait among the others'."""
    guest = boot()
    stages = " | ".join(f"crypto_cli {how} {key}" for key in "ab" for how in ("encrypt", "decrypt"))
    assert guest.run(f"cat README | {stages} > out", timeout=300) == ""
    guest.run("cmp README out")
    guest.run("rm out")
