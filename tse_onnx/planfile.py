"""Plans as TOML files: written to be edited by hand and kept in version control, read with an answer to every mistake.

A block is one line, its name the key, so that a change of one choice is a change of one line. Whatever the names hold,
the file has no character in it that does not print.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.tiling import TILE, Tiling
from tse_onnx.plan import CONVERTED, REFUSED, Decision, Plan

SCHEMA = "tse-onnx/plan/1"
GLOBAL = "global"

_HEADER = """\
# Which block gets which tiles: tse-onnx convert MODEL OUTPUT --plan THIS_FILE
#
# Every block is a line: its name, its tiling, and as a comment C × H × W of its map.
#   { rows = 7 }                                    strips of 7 rows
#   { cols = 7 }                                    strips of 7 columns
#   { rows = 7, cols = 14 }                         tiles of both
#   { rows = 7, balanced = true }                   as many tiles, but of equal size
#   { rows = 3, squeeze = "running", step = 1 }     the mean of all rows seen so far
#   { rows = 7, squeeze = "upper" }                 the first rows' mean for the whole map, or the "middle" ones'
#   { squeeze = "global" }                          stays as it is; note = "..." may say why
# axis = 1 streams the second spatial axis. Blocks without a line get the default.
"""
_KEYS = tuple(field.name for field in dataclasses.fields(Tiling))


def plan_text(plan: Plan, decisions: Iterable[Decision] = ()) -> str:
    """The file that says what `plan` says.

    With `decisions` every block has its line, in their order, with a comment, and what is refused is a comment.
    """
    lines = [f"schema = {_string(SCHEMA)}", f"default = {_choice(plan.default)}", "", "[blocks]"]
    left = dict(plan.choices)
    for decision in decisions:
        name = decision.block.name
        if decision.status == REFUSED and name not in left:
            lines.append(f"# {_string(name)} is refused: {printable(decision.reason or '')}")
            continue
        tiling = left.pop(name) if name in left else plan.default
        lines.append(f"{_string(name)} = {_choice(tiling, plan.notes.get(name, ''))}  # {_remark(decision)}")
    lines += [f"{_string(name)} = {_choice(tiling, plan.notes.get(name, ''))}" for name, tiling in left.items()]
    return _HEADER + "\n" + "\n".join(lines) + "\n"


def _remark(decision: Decision) -> str:
    block = decision.block
    sizes = (block.channels, *block.extents) if block.extents else (block.shape or ())[1:]
    shape = " × ".join("?" if size is None else str(size) for size in sizes)
    if decision.status == REFUSED:
        return f"{shape}; refused: {printable(decision.reason or '')}"
    if decision.status == CONVERTED or decision.tiling is None:
        return shape
    return f"{shape}; {printable(decision.reason or '')}"


def _choice(tiling: Tiling | None, note: str = "") -> str:
    """One choice as an inline table. What is not written is what a table without it means."""
    if tiling is None:
        entries: dict[str, object] = {"squeeze": GLOBAL}
    else:
        entries = {
            field.name: value
            for field in dataclasses.fields(Tiling)
            if (value := getattr(tiling, field.name)) != (None if field.name == "rows" else field.default)
        }
    if note:
        entries["note"] = note
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in entries.items()) + " }"


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _string(value) if isinstance(value, str) else str(value)


def _string(text: str) -> str:
    """A TOML basic string; what does not print is escaped, be it allowed there or not."""
    made = []
    for letter in text:
        if letter in '"\\':
            made.append("\\" + letter)
        elif letter.isprintable():
            made.append(letter)
        else:
            made.append(f"\\u{ord(letter):04X}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08X}")
    return '"' + "".join(made) + '"'


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises `UsageError` where there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no plan: byte {error.start} is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the plan {path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, title: str = "the plan") -> Plan:
    """The plan in a text, which messages call `title`. Raises `UsageError` where it is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        stated = tomllib.loads(text)
    except ValueError as error:  # as TOML's own errors are; a number of thousands of digits is another
        raise UsageError(f"{title} is not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{title} is not a plan: it nests too deep") from None
    schema = stated.pop("schema", None)
    if schema != SCHEMA:
        said = "has no schema" if schema is None else f"has the schema {schema!r}"
        raise UsageError(f'{title} {said}; a plan begins with schema = "{SCHEMA}"')
    _known(stated, ("default", "blocks"), title)
    default, _ = _read_choice(stated.get("default", {"rows": Tiling().rows}), f"{title}: default")
    blocks = stated.get("blocks", {})
    if not isinstance(blocks, dict):
        raise UsageError(f"{title}: blocks is {_kind(blocks)}, not a table")
    choices: dict[str, Tiling | None] = {}
    notes: dict[str, str] = {}
    for name, value in blocks.items():
        choices[name], note = _read_choice(value, f"{title}: block {quoted(name)}")
        if note:
            notes[name] = note
    return Plan(default, choices, notes)


def _read_choice(value: object, where: str) -> tuple[Tiling | None, str]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {_kind(value)}, not a table as {{ rows = 7 }}")
    given = dict(value)
    _known(given, (*_KEYS, "note"), where)
    note = given.pop("note", "")
    if not isinstance(note, str):
        raise UsageError(f"{where}: note is {_kind(note)}, not a string")
    for key in given:
        wanted = str if key == "squeeze" else bool if key == "balanced" else int
        if type(given[key]) is not wanted:
            names = {str: "a string", bool: "true or false", int: "a whole number"}
            raise UsageError(f"{where}: {key} is {_kind(given[key])}, not {names[wanted]}")
    if given.get("squeeze", TILE) == GLOBAL:
        if len(given) > 1:
            raise UsageError(
                f"{where}: squeeze = {_string(GLOBAL)} takes no {next(k for k in given if k != 'squeeze')}"
            )
        return None, note
    try:
        return Tiling(**({"rows": None} | given)), note
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
            raise UsageError(f"{where}: there is no key {quoted(key)}; {hint}")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else f"{value!r}"
