"""C types as a kernel's debug information gives them, and records: typed views of bytes read from
the guest.

Fields are asked for by name and may be absent; nothing here knows any kernel's version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator, Optional


@dataclass
class Field:
    """A member: where it starts in its struct, in bytes."""

    name: str
    offset: int
    type: "Type"


@dataclass
class Type:
    """kind is one of int, pointer, array, struct (unions too), enum, void."""

    kind: str
    name: str = ""
    size: int = 0  # bytes
    signed: bool = False
    target: Optional["Type"] = field(
        default=None, repr=False
    )  # of a pointer; element of an array; resolved through typedefs
    count: int = 0  # elements of an array; 0 for a flexible one
    fields: dict[str, Field] = field(default_factory=dict, repr=False)
    values: dict[int, str] = field(default_factory=dict)  # of an enum

    def find(self, path: str) -> Optional[Field]:
        """The member at a dotted path, with its offset from the start of this type; None if
        absent.
        """
        offset, here = 0, self
        member: Optional[Field] = None
        for name in path.split("."):
            member = here.fields.get(name)
            if member is None:
                return None
            offset += member.offset
            here = member.type
        return Field(path, offset, here) if member else None

    def describe(self, offset: int) -> str:
        """The C expression that names the byte at `offset`, such as `.buf[3].lock`; empty for the
        start.
        """
        if self.kind == "array" and self.target and self.target.size:
            index, rest = divmod(offset, self.target.size)
            if index < self.count:
                return f"[{index}]" + self.target.describe(rest)
        if self.kind == "struct" and offset:
            for member in self.fields.values():
                if member.offset <= offset < member.offset + max(1, member.type.size):
                    inner = member.type.describe(offset - member.offset)
                    return (f".{member.name}" if member.name else "") + inner
        return f"+{offset:#x}" if offset else ""

    def instances(self, wanted: str, at: int = 0, path: str = "") -> Iterator[tuple[str, int]]:
        """Every (expression, offset) in this type where a struct named `wanted` lies, outermost
        only.
        """
        if self.kind == "struct" and self.name == wanted:
            yield path, at
        elif self.kind == "struct":
            for m in self.fields.values():
                yield from m.type.instances(wanted, at + m.offset, f"{path}.{m.name}")
        elif self.kind == "array" and self.target and self.target.kind in ("struct", "array"):
            if next(self.target.instances(wanted), None):
                for i in range(self.count):
                    yield from self.target.instances(
                        wanted, at + i * self.target.size, f"{path}[{i}]"
                    )


class Record:
    """A struct in the guest: its type, its address there, and its bytes."""

    __slots__ = ("type", "address", "data")

    def __init__(self, type: Type, address: int, data: bytes):
        self.type, self.address, self.data = type, address, data

    def get(self, path: str) -> Optional[int]:
        """The integer, pointer or enum at a dotted path; None if there is no such member."""
        f = self.type.find(path)
        if f is None or f.type.size not in (1, 2, 4, 8):
            return None
        return int.from_bytes(
            self.data[f.offset : f.offset + f.type.size], "little", signed=f.type.signed
        )

    def number(self, path: str, default: int = 0) -> int:
        """As get(), with a value for an absent member."""
        value = self.get(path)
        return default if value is None else value

    def text(self, path: str) -> Optional[str]:
        """A char array up to its terminator; None if there is no such member. Bad bytes show as
        \\xNN.
        """
        f = self.type.find(path)
        if f is None:
            return None
        raw = self.data[f.offset : f.offset + f.type.size].split(b"\0")[0]
        return printable(raw)

    def enum(self, path: str) -> Optional[str]:
        """The name of an enum's value, or the number as text if it has none."""
        f, value = self.type.find(path), self.get(path)
        return None if f is None or value is None else f.type.values.get(value, str(value))

    def record(self, path: str) -> Optional["Record"]:
        """A struct member as a record of its own."""
        f = self.type.find(path)
        if f is None or f.type.kind != "struct":
            return None
        return Record(f.type, self.address + f.offset, self.data[f.offset : f.offset + f.type.size])

    def elements(self, path: str) -> list["Record"]:
        """The structs of an array member; empty if there is none."""
        f = self.type.find(path)
        if f is None or f.type.kind != "array" or f.type.target is None:
            return []
        return split(f.type, self.address + f.offset, self.data[f.offset : f.offset + f.type.size])

    def numbers(self, path: str) -> list[int]:
        """The integers or pointers of an array member; empty if there is none."""
        f = self.type.find(path)
        if f is None or f.type.kind != "array" or f.type.target is None or not f.type.target.size:
            return []
        n, signed = f.type.target.size, f.type.target.signed
        raw = self.data[f.offset : f.offset + f.type.size]
        return [
            int.from_bytes(raw[i : i + n], "little", signed=signed) for i in range(0, len(raw), n)
        ]


def split(array: Type, address: int, data: bytes) -> list[Record]:
    """The elements of an array as records."""
    element = array.target
    if element is None or not element.size:
        return []
    n = element.size
    return [Record(element, address + i * n, data[i * n : i * n + n]) for i in range(array.count)]


def printable(raw: bytes) -> str:
    """ASCII text, every other byte as \\xNN: a guest's strings may hold anything, a terminal's
    escapes too.
    """
    return "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in raw)
