"""Pure parts of kernel and server on the host: memory functions, formatting, the XOR."""

import ctypes
import random
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = "-shared -fPIC -ffreestanding -fno-tree-loop-distribute-patterns -O2 -Wall -Wextra -Werror"
INIT, DONE, ERROR = 1, 2, 3
HEADER = struct.Struct("<IIQQ")


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The shared object built from tests/kernlib_host.c."""
    out = tmp_path_factory.mktemp("kernlib") / "kernlib.so"
    source = ROOT / "tests/kernlib_host.c"
    subprocess.run(["cc", *FLAGS.split(), f"-I{ROOT}", "-o", out, source], check=True)
    return ctypes.CDLL(str(out))


def at(buffer: Any, offset: int) -> ctypes.c_void_p:
    """A pointer into a buffer."""
    return ctypes.c_void_p(ctypes.addressof(buffer) + offset)


@pytest.mark.parametrize("move", ["k_memcpy", "k_memmove"])
def test_copies_at_every_alignment(lib: ctypes.CDLL, move: str) -> None:
    """Both copy exactly n bytes, overlapping too: memcpy downwards only, memmove both ways."""
    rng = random.Random(move)
    buffer = ctypes.create_string_buffer(1024)
    for _ in range(20000):
        n = rng.choice([rng.randrange(40), rng.randrange(400)])
        src, dst = rng.randrange(500), rng.randrange(500)
        if move == "k_memcpy" and src < dst < src + n:
            src, dst = dst, src
        model = bytearray(rng.randbytes(1024))
        buffer.raw = bytes(model)
        getattr(lib, move)(at(buffer, dst), at(buffer, src), n)
        model[dst : dst + n] = model[src : src + n]
        assert buffer.raw == model, (src, dst, n)


def test_memset_at_every_alignment(lib: ctypes.CDLL) -> None:
    rng = random.Random(1)
    buffer = ctypes.create_string_buffer(512)
    for _ in range(5000):
        model = bytearray(rng.randbytes(512))
        buffer.raw = bytes(model)
        dst, n, c = rng.randrange(100), rng.randrange(300), rng.randrange(256)
        lib.k_memset(at(buffer, dst), c, n)
        model[dst : dst + n] = bytes([c]) * n
        assert buffer.raw == model, (dst, n)


def test_pages(lib: ctypes.CDLL) -> None:
    """page_zero and page_copy touch one page, all of it."""
    buffer = ctypes.create_string_buffer(8 * 4096)
    offset = -ctypes.addressof(buffer) % 4096
    model = bytearray(random.Random(2).randbytes(8 * 4096))
    buffer.raw = bytes(model)
    lib.page_copy(at(buffer, offset + 4096), at(buffer, offset + 3 * 4096))
    lib.page_zero(at(buffer, offset + 5 * 4096))
    page = model[offset + 3 * 4096 : offset + 4 * 4096]
    model[offset + 4096 : offset + 2 * 4096] = page
    model[offset + 5 * 4096 : offset + 6 * 4096] = bytes(4096)
    assert buffer.raw == model


def test_strings(lib: ctypes.CDLL) -> None:
    buffer = ctypes.create_string_buffer(b"\xff" * 8, 8)
    lib.k_safestrcpy(buffer, b"abcdef", 4)
    assert buffer.raw == b"abc\0" + b"\xff" * 4
    lib.k_strncpy(buffer, b"xy", 5)
    assert buffer.raw == b"xy\0\0\0" + b"\xff" * 3
    lib.k_strncpy(buffer, b"abcdef", 4)
    assert buffer.raw[:5] == b"abcd\0"
    assert lib.k_strlen(b"four") == 4
    assert lib.k_strncmp(b"abc", b"abd", 2) == 0
    assert lib.k_strncmp(b"abc", b"abd", 3) < 0
    assert lib.k_strncmp(b"\xff", b"a", 3) > 0
    assert lib.k_strncmp(b"ab", b"ab\0c", 9) == 0


INT, LONG = ctypes.c_int, ctypes.c_uint64


@pytest.mark.parametrize(
    "template, args, text",
    [
        ("%d %d %u", [INT(-5), INT(-(2**31)), INT(-1)], "-5 -2147483648 4294967295"),
        ("%x|%lx", [INT(0xBEEF), LONG(2**64 - 1)], "beef|ffffffffffffffff"),
        ("%ld %lu", [LONG(2**63), LONG(2**63)], "-9223372036854775808 9223372036854775808"),
        ("%p %c %s", [LONG(0x1000), INT(65), b"word"], "0x1000 A word"),
        ("%s", [None], "(null)"),
        ("100%% %q %", [], "100% %q %"),
    ],
)
def test_format(lib: ctypes.CDLL, template: str, args: list[Any], text: str) -> None:
    buffer = ctypes.create_string_buffer(100)
    n = lib.k_format(buffer, 100, template.encode(), *args)
    assert buffer.raw[:n].decode() == text


def test_format_is_cut_not_overrun(lib: ctypes.CDLL) -> None:
    buffer = ctypes.create_string_buffer(b"#" * 10, 10)
    assert lib.k_format(buffer, 5, b"abc%d", INT(12345)) == 5
    assert buffer.raw == b"abc12#####"


def xor(data: bytes, key: bytes) -> bytes:
    """The cipher, the slow way."""
    return bytes(byte ^ key[i % len(key)] for i, byte in enumerate(data))


def ask(lib: ctypes.CDLL, header: bytes, body: bytes, size: int | None = None) -> tuple[int, bytes]:
    """Has the server's code answer a request; returns the state and the payload afterwards."""
    room = ctypes.create_string_buffer(64 + len(header + body) + 16)
    start = -ctypes.addressof(room) % 16 + 16  # as malloc aligns
    ctypes.memmove(ctypes.addressof(room) + start, header + body, len(header + body))
    before = room.raw
    size = len(header + body) if size is None else size
    lib.k_answer(at(room, start), ctypes.c_uint64(size))
    end = start + max(size, 8)
    assert room.raw[:start] == before[:start] and room.raw[end:] == before[end:], "out of bounds"
    state = struct.unpack_from("<I", room.raw, start + 4)[0]
    return state, room.raw[start + HEADER.size : end]


KEYS = [1, 2, 3, 5, 6, 7, 8, 16, 31, 32, 33, 64, 100, 255, 256, 1000, 1023, 1024, 1025, 3000, 5001]


@pytest.mark.parametrize("key_size", KEYS)
def test_xor_with_keys_of_all_sizes(lib: ctypes.CDLL, key_size: int) -> None:
    """Every combination of key and data size gives the cipher's bytes, key untouched."""
    rng = random.Random(key_size)
    for n in [
        0,
        1,
        7,
        8,
        63,
        64,
        255,
        256,
        257,
        300,
        1023,
        4096,
        4097,
        10000,
        rng.randrange(70000),
    ]:
        key, data = rng.randbytes(key_size), rng.randbytes(n)
        state, payload = ask(lib, HEADER.pack(1 + n % 2, INIT, key_size, n), key + data)
        assert state == DONE
        assert payload == key + xor(data, key), n


HUGE = 2**64


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(0, INIT, 6, 10),
        HEADER.pack(3, INIT, 6, 10),
        HEADER.pack(1, 0, 6, 10),
        HEADER.pack(1, DONE, 6, 10),
        HEADER.pack(1, ERROR, 6, 10),
        HEADER.pack(2, INIT, 0, 10),
        HEADER.pack(1, INIT, 6, 11),
        HEADER.pack(1, INIT, 17, 0),
        HEADER.pack(1, INIT, HUGE - 6, 12),
        HEADER.pack(1, INIT, 6, HUGE - 1),
        HEADER.pack(1, INIT, HUGE // 2, HUGE // 2),
        HEADER.pack(1, INIT, HUGE - 24, 24),
    ],
)
def test_invalid_requests_end_in_error(lib: ctypes.CDLL, header: bytes) -> None:
    """ERROR, and neither key nor data touched."""
    body = bytes(range(16))
    assert ask(lib, header, body) == (ERROR, body)


@pytest.mark.parametrize("size", [8, 9, 16, 23])
def test_a_header_that_does_not_fit(lib: ctypes.CDLL, size: int) -> None:
    assert ask(lib, HEADER.pack(1, INIT, 1, 0), b"", size)[0] == ERROR
