"""What tools need of an ELF file's debug information, extracted once by pyelftools.

The result is plain lists that `elf.py` keeps in a cache, so that most loads never come here.
"""

from __future__ import annotations

from typing import Any, Optional

from elftools.elf.elffile import ELFFile

X = (  # DWARF register numbers 0 to 31 (RISC-V DWARF specification)
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()
Entry = list[Any]  # one type: ["int", name, size, signed] and so on, see elf.py


def extract(path: str) -> dict[str, Any]:
    """Types, global variables, functions and the lock parameter of `acquire`, as JSON can hold them."""
    with open(path, "rb") as f:
        elf = ELFFile(f)
        if not elf.has_dwarf_info():
            return {"types": [], "structs": {}, "variables": {}, "parameters": [], "functions": []}
        reader = _Reader(elf.get_dwarf_info())
        return reader.result()


def lines(path: str) -> dict[str, Any]:
    """Every row of the line tables, by address: files, and [address, index of file, line]; line 0
    ends a run.
    """
    files: dict[str, int] = {}
    rows: list[tuple[int, int, int]] = []
    with open(path, "rb") as f:
        elf = ELFFile(f)
        if elf.has_dwarf_info():
            info = elf.get_dwarf_info()
            for unit in info.iter_CUs():
                program = info.line_program_for_CU(unit)
                if program:
                    rows += _unit_lines(program, files)
    rows.sort(key=lambda row: (row[0], row[2] != 0))
    return {"files": list(files), "rows": rows}


def _unit_lines(program: Any, files: dict[str, int]) -> list[tuple[int, int, int]]:
    names = _file_names(program)
    rows = []
    for entry in program.get_entries():
        state = entry.state
        if state is None or state.file not in names:
            continue
        index = files.setdefault(names[state.file], len(files))
        rows.append((state.address, index, 0 if state.end_sequence else state.line))
    return rows


def _file_names(program: Any) -> dict[int, str]:
    """The files of a unit by the numbers its entries have for them."""
    first = 0 if program.header["version"] >= 5 else 1
    directories = [_text(d) for d in program.header["include_directory"]]
    names = {}
    for number, entry in enumerate(program.header["file_entry"], first):
        index = entry["dir_index"] - first
        directory = directories[index] if 0 <= index < len(directories) else ""
        name = _text(entry["name"])
        relative = directory and not name.startswith("/")
        names[number] = f"{directory}/{name}" if relative else name
    return names


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        value = value["DW_LNCT_path"]
    return str(value.decode("utf-8", "replace")).removeprefix("./")


class _Reader:
    """Walks the top level of every unit; types are followed from there."""

    def __init__(self, info: Any):
        self.info = info
        self.types: list[Entry] = [["void", ""]]
        self.by_offset: dict[int, int] = {}
        self.by_shape: dict[str, int] = {}  # complete structs by name: units repeat them
        self.structs: dict[str, int] = {}
        self.variables: dict[str, list[int]] = {}
        self.parameters: list[list[Any]] = []
        self.functions: list[list[Any]] = []
        self.locations = info.location_lists()

    def result(self) -> dict[str, Any]:
        for unit in self.info.iter_CUs():
            program = self.info.line_program_for_CU(unit)
            files = _file_names(program) if program else {}
            for die in unit.get_top_DIE().iter_children():
                self.top(unit, die)
                self.function(files, die)
        return {
            "types": self.types,
            "structs": self.structs,
            "variables": self.variables,
            "parameters": self.parameters,
            "functions": self.functions,
        }

    def function(self, files: dict[int, str], die: Any) -> None:
        """Where a function is written, also one that is only ever inlined: [file, line, name]."""
        if die.tag != "DW_TAG_subprogram" or "DW_AT_declaration" in die.attributes:
            return
        line, file = _number(die, "DW_AT_decl_line"), _number(die, "DW_AT_decl_file")
        if line and file in files and (name := _name(die)):
            self.functions.append([files[file], line, name])

    def top(self, unit: Any, die: Any) -> None:
        name = _name(die)
        if die.tag in ("DW_TAG_structure_type", "DW_TAG_enumeration_type") and name:
            if "DW_AT_declaration" not in die.attributes and name not in self.structs:
                self.structs[name] = self.type_of(die)
        elif die.tag == "DW_TAG_variable":
            self.variable(die)
        elif die.tag == "DW_TAG_subprogram":
            if name == "acquire":
                self.lock_parameter(unit, die)
            for child in die.iter_children():
                if child.tag == "DW_TAG_variable":
                    self.variable(child)  # function-level statics

    def variable(self, die: Any) -> None:
        where = die.attributes.get("DW_AT_location")
        if where is None or where.form not in ("DW_FORM_exprloc", "DW_FORM_block1"):
            return
        expression = bytes(where.value)
        if len(expression) != 9 or expression[0] != 3:  # DW_OP_addr
            return
        origin = die
        if "DW_AT_specification" in die.attributes:
            origin = die.get_DIE_from_attribute("DW_AT_specification")
        name = _name(origin) or ""
        if name and name not in self.variables:
            source = die if "DW_AT_type" in die.attributes else origin
            self.variables[name] = [int.from_bytes(expression[1:], "little"), self.target(source)]

    def lock_parameter(self, unit: Any, die: Any) -> None:
        """Where acquire()'s first parameter is at each pc: [low, high, register]; only plain
        registers.
        """
        parameter = next(
            (c for c in die.iter_children() if c.tag == "DW_TAG_formal_parameter"), None
        )
        where = parameter and parameter.attributes.get("DW_AT_location")
        if not where:
            return
        low = die.attributes["DW_AT_low_pc"].value
        high = die.attributes["DW_AT_high_pc"].value
        high = high if high > low else low + high
        if where.form in ("DW_FORM_exprloc", "DW_FORM_block1"):
            pieces = [(low, high, list(where.value))]
        elif self.locations:
            base = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
            base = base.value if base else 0
            listed = self.locations.get_location_list_at_offset(where.value, parameter)
            pieces = []
            for item in listed:
                if hasattr(item, "base_address"):
                    base = item.base_address
                elif hasattr(item, "begin_offset"):
                    start = 0 if getattr(item, "is_absolute", False) else base
                    pieces.append(
                        (start + item.begin_offset, start + item.end_offset, item.loc_expr)
                    )
        else:
            return
        for begin, end, expression in pieces:
            if len(expression) == 1 and 0x50 <= expression[0] <= 0x6F:  # DW_OP_reg0..31
                self.parameters.append([begin, end, X[expression[0] - 0x50]])

    def target(self, die: Any) -> int:
        if "DW_AT_type" not in die.attributes:
            return 0
        return self.type_of(die.get_DIE_from_attribute("DW_AT_type"))

    def type_of(self, die: Any) -> int:
        """The index in `types` of what a type entry describes, typedefs and qualifiers seen
        through.
        """
        known = self.by_offset.get(die.offset)
        if known is not None:
            return known
        tag = die.tag
        if tag in (
            "DW_TAG_typedef",
            "DW_TAG_const_type",
            "DW_TAG_volatile_type",
            "DW_TAG_atomic_type",
        ):
            index = self.target(die)
            self.by_offset[die.offset] = index
            return index
        name, size = _name(die) or "", _number(die, "DW_AT_byte_size") or 0
        struct = tag in ("DW_TAG_structure_type", "DW_TAG_union_type")
        declared = "DW_AT_declaration" in die.attributes
        if struct and name and not declared and name in self.by_shape:
            self.by_offset[die.offset] = self.by_shape[name]
            return self.by_shape[name]
        index = len(self.types)
        entry: Entry = []
        self.types.append(entry)
        self.by_offset[die.offset] = index
        if struct:
            if name and not declared:
                self.by_shape[name] = index
            members = [] if declared else self.members(die)
            entry += ["struct", name, size, members]
        elif tag == "DW_TAG_pointer_type":
            entry += ["pointer", self.target(die)]
        elif tag == "DW_TAG_array_type":
            entry += self.array(die)
        elif tag == "DW_TAG_enumeration_type":
            values = {_number(c, "DW_AT_const_value"): _name(c) for c in die.iter_children()}
            entry += ["enum", name, size, values]
        elif tag == "DW_TAG_base_type":
            entry += ["int", name, size, _number(die, "DW_AT_encoding") in (5, 6)]
        else:
            entry += ["void", name]
        return index

    def members(self, die: Any) -> list[list[Any]]:
        found: list[list[Any]] = []
        for child in die.iter_children():
            if child.tag != "DW_TAG_member":
                continue
            where = child.attributes.get("DW_AT_data_member_location")
            offset = where.value if where else 0
            if isinstance(offset, list):  # DWARF 2: DW_OP_plus_uconst ULEB128
                offset = sum((b & 0x7F) << 7 * i for i, b in enumerate(offset[1:]))
            found.append([_name(child) or "", offset, self.target(child)])
        return found

    def array(self, die: Any) -> Entry:
        """Dimensions nest: the last one is innermost."""
        counts = []
        for child in die.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                upper, count = _number(child, "DW_AT_upper_bound"), _number(child, "DW_AT_count")
                n = count if count is not None else (upper + 1 if upper is not None else 0)
                counts.append(n if n < 1 << 32 else 0)
        element = self.target(die)
        for n in reversed(counts[1:]):
            self.types.append(["array", element, n])
            element = len(self.types) - 1
        return ["array", element, counts[0] if counts else 0]


def _name(die: Any) -> Optional[str]:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode("utf-8", "replace") if attribute else None


def _number(die: Any, name: str) -> Optional[int]:
    attribute = die.attributes.get(name)
    return attribute.value if attribute and isinstance(attribute.value, int) else None
