"""The user library compiled for the host: printf, malloc with gaps in the heap, strings."""

import ctypes
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = "-shared -fPIC -ffreestanding -fno-tree-loop-distribute-patterns -O2 -Wall -Wextra -Werror"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared object built from tests/userlib_host.c."""
    out = tmp_path_factory.mktemp("userlib") / "userlib.so"
    source = ROOT / "tests/userlib_host.c"
    subprocess.run(["cc", *FLAGS.split(), f"-I{ROOT}", "-o", out, source], check=True)
    return out


@pytest.fixture
def lib(library: Path) -> Iterator[ctypes.CDLL]:
    """The library with fresh data: loaded for the test, unloaded after it."""
    loaded = ctypes.CDLL(str(library))
    loaded.u_malloc.restype = ctypes.c_void_p
    loaded.u_free.argtypes = [ctypes.c_void_p]
    yield loaded
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    dlclose(loaded._handle)


def written(lib: ctypes.CDLL) -> str:
    """What reached write() so far."""
    n = ctypes.c_int.in_dll(lib, "written_bytes").value
    return bytes((ctypes.c_char * n).in_dll(lib, "written")).decode()


INT, LONG = ctypes.c_int, ctypes.c_uint64


@pytest.mark.parametrize(
    "format_, args, expected",
    [
        ("plain\n", [], "plain\n"),
        ("%d %d", [INT(-42), INT(7)], "-42 7"),
        ("%d", [INT(-(2**31))], "-2147483648"),
        ("%u %x", [INT(-1), INT(-1)], "4294967295 ffffffff"),
        ("%l|", [LONG(2**64 - 1)], "18446744073709551615|"),
        ("%l", [LONG(9)], "9"),
        (
            "%ld %lu %lx",
            [LONG(-(2**63)), LONG(2**63), LONG(2**63)],
            f"-{2**63} {2**63} {2**63:x}",
        ),
        ("%lld %llu %llx", [LONG(-5), LONG(5), LONG(255)], "-5 5 ff"),
        ("%p", [LONG(0x80001234)], "0x0000000080001234"),
        ("%s-%s", [b"ab", None], "ab-(null)"),
        ("%c%c", [INT(ord("o")), INT(ord("k"))], "ok"),
        ("100%%", [], "100%"),
        ("%q %", [], "%q %"),
        ("%-5z|", [], "%-5z|"),
        (
            "[%5d][%-5d][%05d][%05d]",
            [INT(42), INT(42), INT(42), INT(-42)],
            "[   42][42   ][00042][-0042]",
        ),
        ("[%6s][%-6s][%2s]", [b"abc", b"abc", b"abc"], "[   abc][abc   ][abc]"),
        ("%08x", [INT(0xBEEF)], "0000beef"),
    ],
)
def test_printf(lib: ctypes.CDLL, format_: str, args: list[Any], expected: str) -> None:
    lib.u_printf(format_.encode(), *args)
    assert written(lib) == expected


def test_printf_is_one_write(lib: ctypes.CDLL) -> None:
    lib.u_fprintf(2, b"%s: %d lines of %s\n", b"wc", 12, b"README")
    assert ctypes.c_int.in_dll(lib, "written_calls").value == 1


def test_printf_longer_than_its_buffer(lib: ctypes.CDLL) -> None:
    lib.u_printf(b"<%s>", b"x" * 1000)
    assert written(lib) == "<" + "x" * 1000 + ">"


def fill(address: int, size: int, tag: int) -> None:
    ctypes.memset(address, tag, size)


def check(address: int, size: int, tag: int) -> None:
    assert ctypes.string_at(address, size) == bytes([tag]) * size


@pytest.mark.parametrize("gap", [0, 4096, 100])
def test_malloc_random(lib: ctypes.CDLL, gap: int) -> None:
    """Blocks are aligned, do not overlap and keep their contents, with holes of gap bytes."""
    rng = random.Random(gap)
    used = ctypes.c_uint64.in_dll(lib, "arena_used")
    live: dict[int, tuple[int, int]] = {}
    for step in range(20000):
        if step % 500 == 0:
            used.value += gap  # as if pages had been mapped there
        if live and rng.random() < 0.48:
            address = rng.choice(list(live)) if step % 50 == 0 else next(iter(live))
            check(address, *live.pop(address))
            lib.u_free(address)
        else:
            size = rng.choice([0, 1, 16, 17, 100, 1000, 5000])
            address = lib.u_malloc(size)
            assert address and address % 16 == 0
            live[address] = (size, step % 251)
            fill(address, *live[address])
    for address, (size, tag) in live.items():
        check(address, size, tag)
        lib.u_free(address)
    assert written(lib) == ""


def test_malloc_joins_what_is_freed(lib: ctypes.CDLL) -> None:
    used = ctypes.c_uint64.in_dll(lib, "arena_used")
    blocks = [lib.u_malloc(1000) for _ in range(1000)]
    high = used.value
    for address in blocks[::2] + blocks[1::2]:
        lib.u_free(address)
    assert lib.u_malloc(990_000)
    assert used.value == high


def test_malloc_out_of_memory(lib: ctypes.CDLL) -> None:
    ctypes.c_uint64.in_dll(lib, "arena_size").value = 5 * 4096
    assert lib.u_malloc(ctypes.c_uint(0xFFFFFFFF)) is None
    assert lib.u_malloc(6 * 4096) is None
    blocks = []
    while address := lib.u_malloc(1000):
        blocks.append(address)
    assert len(blocks) >= 19, "nearly all of the five pages can be had"
    for address in blocks:
        lib.u_free(address)
    assert lib.u_malloc(15000)


def test_free_reports_what_it_cannot_free(lib: ctypes.CDLL) -> None:
    first, second = lib.u_malloc(100), lib.u_malloc(100)
    lib.u_free(None)
    assert written(lib) == ""
    lib.u_free(first)
    lib.u_free(first)
    lib.u_free(second + 4)
    assert written(lib).count("is not an allocated block") == 2
    lib.u_free(second)
    assert written(lib).count("\n") == 2


def test_memory_functions(lib: ctypes.CDLL) -> None:
    """memmove, memset and memcmp against python, at every alignment and overlap."""
    rng = random.Random(1)
    buffer = ctypes.create_string_buffer(512)
    base = ctypes.addressof(buffer)
    for _ in range(5000):
        src, dst, n = rng.randrange(200), rng.randrange(200), rng.randrange(200)
        model = bytearray(rng.randbytes(512))
        buffer.raw = bytes(model)
        lib.u_memmove(ctypes.c_void_p(base + dst), ctypes.c_void_p(base + src), n)
        model[dst : dst + n] = model[src : src + n]
        assert buffer.raw == model
        equal = lib.u_memcmp(ctypes.c_void_p(base + dst), ctypes.c_void_p(base + src), n)
        a, b = bytes(model[dst : dst + n]), bytes(model[src : src + n])
        assert (equal > 0) - (equal < 0) == (a > b) - (a < b)
        lib.u_memset(ctypes.c_void_p(base + dst), n, n)
        model[dst : dst + n] = bytes([n]) * n
        assert buffer.raw == model
    lib.u_memmove(ctypes.c_void_p(base), ctypes.c_void_p(base + 1), -5)
    assert buffer.raw == model


def test_string_functions(lib: ctypes.CDLL) -> None:
    """strlen, strcpy and strcmp at every alignment."""
    rng = random.Random(2)
    buffer = ctypes.create_string_buffer(256)
    base = ctypes.addressof(buffer)
    for _ in range(5000):
        a, b = (bytes(rng.choices(b"\x01ab\xff", k=rng.randrange(12))) for _ in "ab")
        at_a, at_b = base + rng.randrange(64), base + 128 + rng.randrange(64)
        ctypes.memmove(at_a, a + b"\0", len(a) + 1)
        ctypes.memmove(at_b, b + b"\0", len(b) + 1)
        order = lib.u_strcmp(ctypes.c_void_p(at_a), ctypes.c_void_p(at_b))
        assert (order > 0) - (order < 0) == (a > b) - (a < b)
        assert lib.u_strlen(ctypes.c_void_p(at_a)) == len(a)
        lib.u_strcpy(ctypes.c_void_p(at_b), ctypes.c_void_p(at_a))
        assert ctypes.string_at(at_b) == a


def test_atoi(lib: ctypes.CDLL) -> None:
    assert [lib.u_atoi(s) for s in (b"0", b"123x", b"", b"-5", b"2147483647")] == [
        0,
        123,
        0,
        0,
        2147483647,
    ]


def test_gets_takes_no_more_than_its_line(lib: ctypes.CDLL) -> None:
    text = ctypes.create_string_buffer(b"one\ntwo\nlong line")
    ctypes.c_void_p.in_dll(lib, "input").value = ctypes.addressof(text)
    buffer = ctypes.create_string_buffer(100)
    lines = []
    for size in (100, 100, 5, 100, 100):
        lib.u_gets(buffer, size)
        lines.append(buffer.value)
    assert lines == [b"one\n", b"two\n", b"long", b" line", b""]
