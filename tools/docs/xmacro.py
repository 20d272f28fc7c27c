"""Reads the X-macro tables of headers, in which the kernel states its facts once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows_of(header: str, macro: str) -> list[list[str]]:
    """The entries X(a, "b", ...) of the X-macro `macro` in a header, as lists of bare strings."""
    text = (ROOT / header).read_text()
    body = re.search(r"#define %s\(X\)(.*?[^\\])\n\n" % macro, text, re.S)
    if body is None:
        sys.exit(f"{header}: no table {macro}")
    joined = re.sub(r"\\\n\s*", "", body.group(1))
    entries = re.findall(r"X\(((?:[^()\"]|\"[^\"]*\"(?:\s*\"[^\"]*\")*)*)\)", joined)
    split = re.compile(r'((?:"[^"]*"\s*)+|[^,"]+)(?:,|$)')
    return [[clean(field) for field in split.findall(entry)] for entry in entries]


def clean(field: str) -> str:
    """A field without its quotes; adjacent string literals joined."""
    return "".join(re.findall(r'"([^"]*)"', field)) if '"' in field else field.strip()
