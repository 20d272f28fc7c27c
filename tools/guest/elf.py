"""An ELF executable of the guest: segments, symbols, and the types and lines of its debug
information.

Symbols and segments are read from the file each time (it takes a millisecond); what `dwarf.py`
extracts is kept in the user's cache folder under the file's identity, because extracting takes a
hundred times as long.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Optional

from tools.guest.layout import Field, Type
from tools.guest.memory import GuestError

FORMAT = 2  # of the cache; change it with what dwarf.py returns


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD program header: where the bytes go, virtually and physically."""

    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: int  # PF_X 1, PF_W 2, PF_R 4
    offset: int


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int
    function: bool


class Elf:
    """A RISC-V ELF-64 executable."""

    def __init__(self, path: str):
        self.path = os.path.abspath(path)
        try:
            with open(path, "rb") as f:
                self.image = f.read()
            status = os.stat(path)
        except OSError as e:
            raise GuestError(f"{path}: {e.strerror}") from None
        if self.image[:6] != b"\x7fELF\x02\x01" or len(self.image) < 64:
            raise GuestError(f"{path}: not a 64-bit little-endian ELF file")
        if struct.unpack_from("<H", self.image, 18)[0] != 243:
            raise GuestError(f"{path}: not for RISC-V")
        self.identity = f"{FORMAT}:{self.path}:{status.st_mtime_ns}:{status.st_size}"
        try:
            self._headers()
        except struct.error:
            raise GuestError(f"{path}: truncated") from None
        except (ValueError, OverflowError):  # a string table or an offset outside the file
            raise GuestError(f"{path}: damaged headers") from None

    def _headers(self) -> None:
        self.entry, phoff, shoff = struct.unpack_from("<QQQ", self.image, 24)
        phentsize, phnum, shentsize, shnum, _ = struct.unpack_from("<HHHHH", self.image, 54)
        self.segments = []
        for i in range(phnum):
            kind, flags, offset, vaddr, paddr, filesz, memsz = struct.unpack_from(
                "<IIQQQQQ", self.image, phoff + i * phentsize
            )
            if kind == 1 and memsz:
                self.segments.append(Segment(vaddr, paddr, filesz, memsz, flags, offset))
        self.symbols: dict[str, Symbol] = {}
        for i in range(shnum):
            header = struct.unpack_from("<IIQQQQII", self.image, shoff + i * shentsize)
            if header[1] == 2:  # SHT_SYMTAB; its sh_link is the string table
                strings = struct.unpack_from("<IIQQQQ", self.image, shoff + header[6] * shentsize)
                self._symbols(header[4], header[5], strings[4])

    def _symbols(self, offset: int, size: int, strings: int) -> None:
        for name, info, _, section, value, length in struct.iter_unpack(
            "<IBBHQQ", self.image[offset : offset + size // 24 * 24]
        ):
            kind = info & 15
            if not 0 < section < 0xFF00 or kind > 2 or not name:  # SHN_LORESERVE
                continue
            end = self.image.index(b"\0", strings + name)
            text = self.image[strings + name : end].decode("utf-8", "replace")
            if not text.startswith(("$", ".L")) and (text not in self.symbols or info >> 4):
                self.symbols[text] = Symbol(text, value, length, kind == 2)

    @cached_property
    def _ordered(self) -> tuple[list[int], list[Symbol]]:
        inside = list(self.symbols.values())
        inside.sort(key=lambda s: (s.address, s.size > 0, s.function))
        return [s.address for s in inside], inside

    def nearest(self, address: int) -> Optional[tuple[Symbol, int]]:
        """The symbol an address lies in, and the offset; None outside the image. Labels without
        size reach on.
        """
        if not any(s.vaddr <= address < s.vaddr + s.memsz for s in self.segments):
            return None
        addresses, symbols = self._ordered
        i = bisect.bisect_right(addresses, address) - 1
        if i < 0:
            return None
        return symbols[i], address - symbols[i].address

    def bytes_at(self, vaddr: int, size: int) -> bytes:
        """Bytes as the file has them: text and constants; zero-filled past a segment's file
        part.
        """
        for s in self.segments:
            if s.vaddr <= vaddr and vaddr + size <= s.vaddr + s.memsz:
                start = s.offset + vaddr - s.vaddr
                end = min(start + size, s.offset + s.filesz)
                return self.image[start:end].ljust(size, b"\0")
        raise GuestError(f"{self.path}: no segment holds {vaddr:#x}")

    # Debug information

    @cached_property
    def _debug(self) -> dict[str, Any]:
        def extract() -> dict[str, Any]:
            from tools.guest import dwarf  # late: a cached load does without pyelftools

            return dwarf.extract(self.path)

        return self._cached("types", extract)

    @cached_property
    def _lines(self) -> tuple[list[int], list[list[int]], list[str]]:
        def extract() -> dict[str, Any]:
            from tools.guest import dwarf

            return dwarf.lines(self.path)

        data = self._cached("lines", extract)
        return [row[0] for row in data["rows"]], data["rows"], data["files"]

    def _cached(self, part: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        name = hashlib.sha1(self.identity.encode()).hexdigest()
        path = os.path.join(home, "xv6-glass", f"{name}.{part}.json")
        try:
            with open(path, encoding="utf-8") as f:
                return dict(json.load(f))
        except (OSError, ValueError):
            pass
        data: dict[str, Any] = json.loads(json.dumps(_made(self.path, make)))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            draft = f"{path}.{os.getpid()}"
            with open(draft, "w", encoding="utf-8") as f:
                json.dump(data, f)
            os.replace(draft, path)
        except OSError:
            pass  # a cache that cannot be written costs time only
        return data

    @cached_property
    def _types(self) -> dict[int, Type]:
        return {}

    def _type(self, index: int) -> Type:
        known = self._types.get(index)
        if known is not None:
            return known
        kind, *rest = self._debug["types"][index]
        made = self._types[index] = Type(kind)
        if kind == "int":
            made.name, made.size, made.signed = rest
        elif kind == "pointer":
            made.size = 8
            made.target = self._type(rest[0])
        elif kind == "array":
            made.target, made.count = self._type(rest[0]), rest[1]
            made.size = made.target.size * made.count
        elif kind == "enum":
            made.name, made.size, made.values = (
                rest[0],
                rest[1],
                {int(k): v for k, v in rest[2].items()},
            )
        elif kind == "struct":
            made.name, made.size = rest[0], rest[1]
            for member, offset, t in rest[2]:
                inner = self._type(t)
                if member:
                    made.fields[member] = Field(member, offset, inner)
                else:  # anonymous: its members are this struct's
                    for f in inner.fields.values():
                        made.fields[f.name] = Field(f.name, offset + f.offset, f.type)
            if (
                not rest[2] and made.name in self._debug["structs"]
            ):  # a declaration: use the definition
                made.fields = self._type(self._debug["structs"][made.name]).fields
        return made

    def struct(self, name: str) -> Optional[Type]:
        """A struct or enum by its tag; None if the program has none."""
        index = self._debug["structs"].get(name)
        return None if index is None else self._type(index)

    def variable(self, name: str) -> Optional[tuple[int, Type]]:
        """A global or static variable: address and type; None if there is none."""
        found = self._debug["variables"].get(name)
        return None if found is None else (found[0], self._type(found[1]))

    def variables(self) -> list[tuple[str, int, Type]]:
        """Every global and static variable."""
        return [(n, where, self._type(t)) for n, (where, t) in self._debug["variables"].items()]

    @property
    def lock_register(self) -> list[tuple[int, int, str]]:
        """In which register acquire() has its lock: (first pc, one past the last pc, register)."""
        return [(a, b, r) for a, b, r in self._debug["parameters"]]

    def line(self, pc: int) -> Optional[tuple[str, int]]:
        """File and line of an instruction; None without line information."""
        addresses, rows, files = self._lines
        i = bisect.bisect_right(addresses, pc) - 1
        if i < 0 or not rows[i][2]:
            return None
        return files[rows[i][1]], rows[i][2]

    def declared(self, function: str) -> Optional[tuple[str, int]]:
        """File and line where a function's text begins, also one whose first instructions are of another
        that was inlined; None if none is known, or several of that name.
        """
        found = [(f, at) for f, at, name in self._debug["functions"] if name == function]
        return (found[0][0], found[0][1]) if len(found) == 1 else None

    def function_at(self, file: str, line: int) -> Optional[str]:
        """The function whose text holds a line, whatever it was inlined into; None if none is known."""
        starts = [
            (at, name) for f, at, name in self._debug["functions"] if f == file and at <= line
        ]
        return str(max(starts)[1]) if starts else None


def _made(path: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return make()
    except ImportError:
        raise GuestError("python3-pyelftools is missing: 'make setup' installs it") from None
    except Exception as e:  # pyelftools raises what it likes on damaged input
        raise GuestError(f"{path}: unusable debug information ({type(e).__name__}: {e})") from None
