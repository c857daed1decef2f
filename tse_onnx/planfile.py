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
from typing import Any, Literal

from tse_onnx.errors import UsageError
from tse_onnx.passes.frozen import FROZEN, Frozen
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.tiling import TILE, Tiling
from tse_onnx.plan import CONVERTED, REFUSED, Decision, Plan

SCHEMA = "tse-onnx/plan/1"
GLOBAL = "global"
_GATES = "gates"

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
#   { squeeze = "frozen" }                          its gate becomes the constants under [gates]
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
    gates = {name: choice.gate for name, choice in plan.choices.items() if isinstance(choice, Frozen)}
    if gates:
        lines += ["", f"[{_GATES}]"]
        lines += [f"{_string(name)} = [{', '.join(map(repr, gate))}]" for name, gate in gates.items()]
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


def _choice(tiling: Tiling | Frozen | None, note: str = "") -> str:
    """One choice as an inline table. What is not written is what a table without it means."""
    if tiling is None:
        entries: dict[str, object] = {"squeeze": GLOBAL}
    elif isinstance(tiling, Frozen):
        entries = {"squeeze": FROZEN}
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
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{title} is not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{title} is not a plan: it nests too deep") from None
    schema = stated.pop("schema", None)
    if schema != SCHEMA:
        said = "has no schema" if schema is None else f"has the schema {schema!r}"
        raise UsageError(f'{title} {said}; a plan begins with schema = "{SCHEMA}"')
    _known(stated, ("default", "blocks", _GATES), title)
    default, _ = _read_choice(stated.get("default", {"rows": Tiling().rows}), f"{title}: default")
    if default == FROZEN:
        raise UsageError(f"{title}: default is frozen; a gate is frozen block by block")
    blocks = stated.get("blocks", {})
    if not isinstance(blocks, dict):
        raise UsageError(f"{title}: blocks is {_kind(blocks)}, not a table")
    gates = _read_gates(stated.get(_GATES, {}), title)
    choices: dict[str, Tiling | Frozen | None] = {}
    notes: dict[str, str] = {}
    for name, value in blocks.items():
        choice, note = _read_choice(value, f"{title}: block {quoted(name)}")
        if choice == FROZEN:
            if name not in gates:
                raise UsageError(f"{title}: block {quoted(name)} is frozen, but [{_GATES}] has no numbers for it")
            choices[name] = gates[name]
        else:
            choices[name] = choice
        if note:
            notes[name] = note
    return Plan(default, choices, notes)


def _read_gates(stated: object, title: str) -> dict[str, Frozen]:
    if not isinstance(stated, dict):
        raise UsageError(f"{title}: {_GATES} is {_kind(stated)}, not a table")
    gates = {}
    for name, numbers in stated.items():
        where = f"{title}: the gate of block {quoted(name)}"
        if not isinstance(numbers, list):
            raise UsageError(f"{where} is {_kind(numbers)}, not a list of numbers")
        strange = next((number for number in numbers if type(number) not in (int, float)), None)
        if strange is not None:
            raise UsageError(f"{where} holds {_kind(strange)}, which is no number")
        try:
            gates[name] = Frozen(tuple(map(float, numbers)))
        except (UsageError, OverflowError) as error:
            raise UsageError(f"{where}: {error}") from None
    return gates


def _read_choice(value: object, where: str) -> tuple[Tiling | Literal["frozen"] | None, str]:
    """A choice and its note; a frozen gate's numbers are in another table."""
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
    squeeze = given.get("squeeze", TILE)
    if squeeze in (GLOBAL, FROZEN):
        if len(given) > 1:
            raise UsageError(
                f"{where}: squeeze = {_string(squeeze)} takes no {next(k for k in given if k != 'squeeze')}"
            )
        return (None if squeeze == GLOBAL else FROZEN), note
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
