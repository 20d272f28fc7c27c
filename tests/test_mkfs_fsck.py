"""mkfs and fsck on the host: good images check clean, every kind of inconsistency is named, nothing hostile crashes."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import tree

BLOCK = 1024
DIRECT = 12
LOG_START, INODE_START, BITMAP_START, FIRST_DATA = 2, 33, 46, 47  # of mkfs's default image
ROOT = 1
Image = bytearray


def mkfs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs mkfs."""
    command = [str(tree.MKFS), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def fsck(image: Path) -> subprocess.CompletedProcess[str]:
    """Runs fsck; it must not have been killed by a signal."""
    done = subprocess.run(
        [tree.FSCK, image], capture_output=True, text=True, timeout=60, errors="replace"
    )
    assert done.returncode in (0, 1, 2), (done.returncode, done.stderr)
    return done


@pytest.fixture
def files(tmp_path: Path, built: None) -> list[Path]:
    """Host files of awkward sizes: inodes 2 to 6 of an image made of them."""
    sizes = {"empty": 0, "small": 5, "_block": BLOCK, "direct": 12 * BLOCK, "large": 60_000}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(random.Random(name).randbytes(size))
    return [tmp_path / name for name in sizes]


@pytest.fixture
def image(tmp_path: Path, files: list[Path]) -> Path:
    """An image with those files."""
    path = tmp_path / "fs.img"
    assert mkfs(path, *files).returncode == 0
    return path


def inode(data: Image, inum: int) -> tuple[int, ...]:
    """The fields of an inode: type, major, minor, nlink, size, 13 addresses."""
    return struct.unpack_from("<4h14I", data, INODE_START * BLOCK + inum * 64)


def set_inode(data: Image, inum: int, **fields: int) -> None:
    """Changes fields of an inode; aN is an address."""
    offsets = {"type": (0, "<h"), "nlink": (6, "<h"), "size": (8, "<I")}
    for name, value in fields.items():
        offset, code = offsets.get(name) or (12 + 4 * int(name[1:]), "<I")
        struct.pack_into(code, data, INODE_START * BLOCK + inum * 64 + offset, value)


def content(data: Image, inum: int) -> bytes:
    """A file's bytes."""
    fields = inode(data, inum)
    blocks = list(fields[5:17])
    if fields[17]:
        blocks += struct.unpack_from("<256I", data, fields[17] * BLOCK)
    return b"".join(bytes(data[b * BLOCK : (b + 1) * BLOCK]) for b in blocks if b)[: fields[4]]


def entries(data: Image, inum: int = ROOT) -> dict[str, int]:
    """A directory's names and inode numbers."""
    pairs = struct.iter_unpack("<H14s", content(data, inum))
    return {name.rstrip(b"\0").decode(): number for number, name in pairs if number}


def set_entry(data: Image, index: int, inum: int, name: bytes) -> None:
    """Writes an entry of the root directory's first block."""
    struct.pack_into("<H14s", data, inode(data, ROOT)[5] * BLOCK + 16 * index, inum, name)


def set_bit(data: Image, block: int, used: bool) -> None:
    """Marks a block in the bitmap."""
    at, bit = BITMAP_START * BLOCK + block // 8, 1 << block % 8
    data[at] = data[at] | bit if used else data[at] & ~bit


def add_directory(data: Image, inum: int = 7, name: bytes = b"dir") -> int:
    """Adds a sound empty directory to the root, as the kernel would; returns its block."""
    block = 1500
    set_inode(data, inum, type=1, nlink=1, size=32, a0=block)
    set_bit(data, block, True)
    struct.pack_into("<H14sH14s", data, block * BLOCK, inum, b".", ROOT, b"..")
    set_entry(data, inode(data, ROOT)[4] // 16, inum, name)
    root = inode(data, ROOT)
    set_inode(data, ROOT, size=root[4] + 16, nlink=root[3] + 1)
    return block


def test_image_holds_the_files(image: Path, files: list[Path]) -> None:
    """Names lose their folder and a leading underscore; contents are exact; the layout is xv6's."""
    data = Image(image.read_bytes())
    assert len(data) == 2000 * BLOCK
    header = struct.unpack_from("<8I", data, BLOCK)
    assert header == (
        0x10203040,
        2000,
        2000 - FIRST_DATA,
        200,
        31,
        LOG_START,
        INODE_START,
        BITMAP_START,
    )
    assert entries(data) == {
        ".": 1,
        "..": 1,
        "empty": 2,
        "small": 3,
        "block": 4,
        "direct": 5,
        "large": 6,
    }
    for inum, file in enumerate(files, 2):
        assert content(data, inum) == file.read_bytes()
    assert fsck(image).stdout == "" and fsck(image).returncode == 0


@pytest.mark.parametrize("blocks", [64, 100, 8191, 8192, 8193, 70_000])
def test_sizes(tmp_path: Path, files: list[Path], blocks: int) -> None:
    """-b gives the number of blocks; the bitmap grows with it."""
    path = tmp_path / "sized.img"
    assert mkfs("-b", str(blocks), path, files[1]).returncode == 0
    assert path.stat().st_size == blocks * BLOCK
    assert fsck(path).returncode == 0


def test_mkfs_refuses(tmp_path: Path, files: list[Path]) -> None:
    """One line that names the culprit, status 2, and no image left behind."""
    path = tmp_path / "no.img"
    huge = tmp_path / "huge"
    huge.write_bytes(bytes(268 * BLOCK + 1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "_small").write_bytes(b"")
    cases: list[tuple[list[str | Path], str]] = [
        ([], "usage"),
        (["-x", path], "usage"),
        (["-b", "0", path], "0: the number of blocks"),
        (["-b", "2000x", path], "2000x: the number of blocks"),
        (["-b", "99999999999999999999", path], "the number of blocks"),
        ([path, tmp_path / "missing"], "missing: No such file"),
        ([path, tmp_path], f"{tmp_path}: "),
        ([path, f"{tmp_path}/"], "names no file"),
        ([path, huge], "huge: larger than the largest file"),
        ([path, files[1], tmp_path / "other" / "_small"], "_small: another file has the same name"),
        (["-b", "64", path, files[4]], "large: no block left"),
        ([tmp_path / "nowhere" / "no.img", files[1]], "no.img: No such file"),
    ]
    for arguments, message in cases:
        done = mkfs(*arguments)
        assert done.returncode == 2 and message in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1 and not path.exists()


def test_long_names_are_cut(tmp_path: Path, files: list[Path]) -> None:
    """As the kernel cuts them; two that become the same are refused."""
    long = [tmp_path / "abcdefghijklmnop", tmp_path / "abcdefghijklmnoq"]
    for file in long:
        file.write_bytes(b"")
    assert mkfs(tmp_path / "a.img", long[0]).returncode == 0
    assert "abcdefghijklmn" in entries(Image((tmp_path / "a.img").read_bytes()))
    assert "same name" in mkfs(tmp_path / "b.img", *long).stderr


def test_too_many_files(tmp_path: Path, built: None) -> None:
    """Inodes run out with a message, and the largest directory mkfs can make is sound."""
    names = [tmp_path / f"f{i}" for i in range(199)]
    for name in names:
        name.write_bytes(b"")
    assert mkfs(tmp_path / "a.img", *names[:198]).returncode == 0
    assert fsck(tmp_path / "a.img").returncode == 0
    assert "f198: no inode left" in mkfs(tmp_path / "a.img", *names).stderr


def log_entry(data: Image, n: int, block: int) -> None:
    """A log header that claims n blocks, the first being `block`."""
    struct.pack_into("<II", data, LOG_START * BLOCK, n, block)


def superblock(field: int, value: int) -> Callable[[Image], None]:
    """A damage: another value in the superblock."""
    return lambda data: struct.pack_into("<I", data, BLOCK + 4 * field, value)


def inode_fields(inum: int, **fields: int) -> Callable[[Image], None]:
    """A damage: other values in an inode."""
    return lambda data: set_inode(data, inum, **fields)


def shared_block(data: Image) -> None:
    """Two files with one block."""
    set_inode(data, 4, a0=inode(data, 3)[5])


def indirect_damage(index: int, value: int) -> Callable[[Image], None]:
    """A damage: another entry in the large file's indirect block."""
    return lambda data: struct.pack_into("<I", data, inode(data, 6)[17] * BLOCK + 4 * index, value)


def directory_damage(index: int, inum: int, name: bytes) -> Callable[[Image], None]:
    """A damage: a sound directory, then another entry 0 or 1 in it."""

    def damage(data: Image) -> None:
        block = add_directory(data)
        struct.pack_into("<H14s", data, block * BLOCK + 16 * index, inum, name)

    return damage


def directory_twice(data: Image) -> None:
    """A directory with two names."""
    add_directory(data)
    set_entry(data, inode(data, ROOT)[4] // 16, 7, b"again")
    root = inode(data, ROOT)
    set_inode(data, ROOT, size=root[4] + 16, nlink=root[3] + 1)


def directory_cycle(data: Image) -> None:
    """A directory that contains itself and that the root does not."""
    block = add_directory(data)
    set_entry(data, 7, 0, b"")
    struct.pack_into("<H14s", data, block * BLOCK + 32, 7, b"loop")
    set_inode(data, 7, size=48, nlink=2)
    set_inode(data, ROOT, nlink=1)


def entry_damage(index: int, inum: int, name: bytes) -> Callable[[Image], None]:
    """A damage: another entry in the root."""
    return lambda data: set_entry(data, index, inum, name)


def bit_damage(block: int, used: bool) -> Callable[[Image], None]:
    """A damage: a block marked otherwise."""
    return lambda data: set_bit(data, block, used)


def lost_file_block(data: Image) -> None:
    """A file's block marked free."""
    set_bit(data, inode(data, 3)[5], False)


DAMAGES: list[tuple[str, Callable[[Image], None], str]] = [
    ("magic", superblock(0, 0x12345678), "superblock: magic number 0x12345678"),
    ("size", superblock(1, 3000), "superblock: size of 3000 blocks, but the image has 2000"),
    ("data blocks", superblock(2, 7), "superblock: 7 data blocks"),
    ("inodes", superblock(3, 1), "superblock: 1 inodes"),
    ("many inodes", superblock(3, 0xFFFFFFFF), "superblock: inodes and bitmap overlap"),
    ("no log", superblock(4, 0), "superblock: log of 0 blocks"),
    ("long log", superblock(4, 0xFFFFFFFF), "superblock: log and inodes overlap"),
    ("log place", superblock(5, 0), "superblock: log at block 0"),
    ("inode place", superblock(6, 3), "superblock: log and inodes overlap"),
    ("bitmap place", superblock(7, 40), "superblock: inodes and bitmap overlap"),
    ("bitmap far", superblock(7, 0xFFFFFFF0), "superblock: no room for data"),
    ("log length", lambda data: log_entry(data, 31, 100), "log: header claims 31 blocks of 30"),
    ("log block", lambda data: log_entry(data, 1, 1), "log: entry 0 would overwrite block 1"),
    ("log far", lambda data: log_entry(data, 1, 2000), "log: entry 0 would overwrite block 2000"),
    ("log itself", lambda data: log_entry(data, 1, 5), "log: entry 0 would overwrite block 5"),
    ("type", inode_fields(3, type=9), "inode 3: unknown type 9"),
    ("free with size", inode_fields(20, size=5), "inode 20: free, but it has"),
    ("device with size", inode_fields(2, type=3, size=9), "inode 2: a device, but it has"),
    ("block outside", inode_fields(3, a0=2000), "inode 3: block 0 of the file is block 2000"),
    ("block in metadata", inode_fields(3, a0=33), "inode 3: block 0 of the file is block 33"),
    (
        "indirect outside",
        inode_fields(6, a12=1 << 31),
        "inode 6: the indirect block is block 2147483648",
    ),
    ("indirect entry", indirect_damage(0, 5), "inode 6: block 12 of the file is block 5"),
    ("hole", indirect_damage(3, 0), "inode 6: block 15 of the file is missing"),
    ("no indirect", inode_fields(6, a12=0), "inode 6: size 60000, but no indirect block"),
    ("shared", shared_block, "which inode 3 uses too"),
    ("beyond", inode_fields(4, size=0), "inode 4: block 0 of the file lies beyond its size 0"),
    ("too large", inode_fields(5, size=268 * BLOCK + 1), "inode 5: size 274433 is more than"),
    ("missing", inode_fields(5, a3=0), "inode 5: block 3 of the file is missing"),
    ("marked free", lost_file_block, "which the bitmap says is free"),
    ("leak", bit_damage(1999, True), "bitmap: block 1999 is marked used, but no inode uses it"),
    ("metadata free", bit_damage(33, False), "bitmap: block 33 holds metadata, but is marked free"),
    ("links", inode_fields(3, nlink=2), "inode 3: link count 2 instead of 1"),
    ("negative links", inode_fields(3, nlink=-1), "inode 3: link count -1 instead of 1"),
    ("root links", inode_fields(1, nlink=2), "inode 1: link count 2 instead of 1"),
    ("orphan", inode_fields(20, type=2), "inode 20: an orphan"),
    ("no name", inode_fields(20, type=2, nlink=1), "inode 20: no directory names it"),
    ("root type", inode_fields(1, type=2), "inode 1: the root is no directory"),
    ("root size", inode_fields(1, size=113), "inode 1: a directory of 113 bytes"),
    ("root blocks", inode_fields(1, a0=0), "directory 1: its blocks are bad"),
    ("dot", entry_damage(0, 1, b"x"), "directory 1: entry 0 is not '.'"),
    ("dotdot", entry_damage(1, 3, b".."), "directory 1: '..' is inode 3 instead of 1"),
    (
        "entry to free",
        entry_damage(2, 20, b"empty"),
        "directory 1: 'empty' is inode 20, which is free",
    ),
    ("entry far", entry_damage(2, 200, b"empty"), "directory 1: 'empty' is inode 200 of 200"),
    ("empty name", entry_damage(2, 2, b""), "directory 1: inode 2 has an empty name"),
    ("slash", entry_damage(2, 2, b"a/b"), "directory 1: name 'a/b' contains a slash"),
    ("padding", entry_damage(2, 2, b"a\0b"), "directory 1: name 'a' is followed by more"),
    ("twice", entry_damage(2, 2, b"small"), "directory 1: two entries are named 'small'"),
    ("own dot", directory_damage(0, 1, b"."), "directory 7: '.' is inode 1 instead of 7"),
    ("own dotdot", directory_damage(1, 7, b".."), "directory 7: '..' is inode 7 instead of 1"),
    ("two parents", directory_twice, "'again' is directory 7, which directory 1 contains too"),
    ("cycle", directory_cycle, "inode 7: no directory names it"),
]


@pytest.mark.parametrize("damage, message", [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damage_is_named(image: Path, damage: Callable[[Image], None], message: str) -> None:
    """One line that says what and where; exit status 1; the image is not changed."""
    data = Image(image.read_bytes())
    damage(data)
    image.write_bytes(data)
    done = fsck(image)
    assert done.returncode == 1
    assert any(
        line.startswith(f"{image}: ") and message in line for line in done.stdout.splitlines()
    ), done.stdout
    assert image.read_bytes() == data


def test_sound_directory(image: Path) -> None:
    """What the damages to a directory start from is sound, a hard link and a device too."""
    data = Image(image.read_bytes())
    add_directory(data)
    set_inode(data, 3, nlink=2)
    set_inode(data, 8, type=3, nlink=1)
    set_entry(data, 8, 3, b"link")
    set_entry(data, 9, 8, b"device")
    set_inode(data, ROOT, size=160)
    image.write_bytes(data)
    assert fsck(image).stdout == ""


def test_committed_log_is_replayed(image: Path) -> None:
    """In order, the later copy of a block wins; only in memory."""
    data = Image(image.read_bytes())
    block = INODE_START * BLOCK
    good = bytes(data[block : block + BLOCK])
    bad = Image(data)
    set_inode(bad, 3, type=9)
    struct.pack_into("<3I", data, LOG_START * BLOCK, 2, INODE_START, INODE_START)
    data[(LOG_START + 1) * BLOCK : (LOG_START + 2) * BLOCK] = bad[block : block + BLOCK]
    data[(LOG_START + 2) * BLOCK : (LOG_START + 3) * BLOCK] = good
    data[block : block + BLOCK] = bytes(BLOCK)
    image.write_bytes(data)
    assert fsck(image).stdout == ""
    struct.pack_into("<I", data, LOG_START * BLOCK, 1)
    image.write_bytes(data)
    assert "inode 3: unknown type 9" in fsck(image).stdout
    assert image.read_bytes() == data


def test_fsck_usage(tmp_path: Path, image: Path) -> None:
    """What can't be checked at all: one line, status 2; a file that is no image is a finding."""
    several: list[list[str | Path]] = [
        [],
        [image, image],
        ["-v"],
        [tmp_path / "missing"],
        [tmp_path],
    ]
    for arguments in several:
        done = subprocess.run([tree.FSCK, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""
    for junk in (b"", b"x" * 100, b"x" * 5000):
        image.write_bytes(junk)
        assert fsck(image).returncode == 1


@pytest.mark.parametrize("seed", range(4))
def test_random_damage(image: Path, seed: int) -> None:
    """Whatever the bytes: no crash, no hang, a bounded answer."""
    good = image.read_bytes()
    rng = random.Random(seed)
    for _ in range(150):
        data = Image(good)
        for _ in range(rng.choice([1, 3, 30])):
            region = rng.choice(
                [
                    range(BLOCK, 2 * BLOCK),
                    range(2 * BLOCK, 3 * BLOCK),
                    range(33 * BLOCK, 70 * BLOCK),
                ]
            )
            at = rng.choice(region) & ~3
            struct.pack_into(
                "<I",
                data,
                at,
                rng.choice(
                    [0, 1, 5, 46, 47, 1999, 2000, 2**31, 2**32 - 1, rng.getrandbits(32)]
                ),
            )
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        image.write_bytes(data)
        assert len(fsck(image).stdout) < 200_000
