"""Plans as TOML files: written to be edited by hand and kept in version control, read with an answer to every mistake.

A block is one line, its name the key, so that a change of one choice is a change of one line. Whatever the names hold,
the file has no character in it that does not print.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from tse_onnx.decision import CONVERTED, REFUSED, Decision
from tse_onnx.errors import UsageError
from tse_onnx.passes.frozen import FROZEN, Frozen
from tse_onnx.passes.reasons import printable, quoted
from tse_onnx.passes.tiling import TILE, Calibration, Tiling
from tse_onnx.toml import need_keys, parse_toml, read_toml

SCHEMA = "tse-onnx/plan/1"
GLOBAL = "global"
_GATES, _CALIBRATIONS, _CALIBRATED = "gates", "calibrations", "calibrated"

_HEADER = """\
# Which block gets which tiles: tse-onnx convert MODEL OUTPUT --plan THIS_FILE
#
# Every block is a line: its name, its tiling, and as a comment C × H × W of its map.
#   { rows = 7 }                                    strips of 7 rows
#   { cols = 7 }                                    strips of 7 columns
#   { rows = 7, cols = 14 }                         tiles of both
#   { rows = 7, balanced = true }                   as many tiles, but of equal size
#   { rows = 3, squeeze = "running", step = 1 }     the mean of all rows seen so far
#   { rows = 3, squeeze = "running", calibrated = true }   the same, with the numbers under [calibrations]
#   { rows = 7, squeeze = "upper" }                 the first rows' mean for the whole map, or the "middle" ones'
#   { squeeze = "frozen" }                          its gate becomes the constants under [gates]
#   { squeeze = "global" }                          stays as it is; note = "..." may say why
# axis = 1 streams the second spatial axis. Blocks without a line get the default.
"""
_FIELDS = tuple(field for field in dataclasses.fields(Tiling) if field.name != "calibration")
_KEYS = (*(field.name for field in _FIELDS), _CALIBRATED)


class Written(NamedTuple):
    """What a plan file says: the fields of a `Plan`."""

    default: Tiling | None
    choices: Mapping[str, Tiling | Frozen | None]
    notes: Mapping[str, str]


class _Planned(Protocol):
    @property
    def default(self) -> Tiling | None: ...
    @property
    def choices(self) -> Mapping[str, Tiling | Frozen | None]: ...
    @property
    def notes(self) -> Mapping[str, str]: ...


def plan_text(plan: _Planned, decisions: Iterable[Decision] = ()) -> str:
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
        lines += [f"{_string(name)} = {_numbers(gate)}" for name, gate in gates.items()]
    for name, choice in plan.choices.items():
        if isinstance(choice, Tiling) and choice.calibration is not None:
            lines += ["", f"[{_CALIBRATIONS}.{_string(name)}]", f"slopes = {_numbers(choice.calibration.slopes)}"]
            lines += ["offsets = [", *(f"  {_numbers(row)}," for row in choice.calibration.offsets), "]"]
    return _HEADER + "\n" + "\n".join(lines) + "\n"


def _numbers(numbers: Iterable[float]) -> str:
    return "[" + ", ".join(map(repr, numbers)) + "]"


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
            for field in _FIELDS
            if (value := getattr(tiling, field.name)) != (None if field.name == "rows" else field.default)
        }
        if tiling.calibration is not None:
            entries[_CALIBRATED] = True
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


def read_plan(path: Path) -> Written:
    """The plan in a file. Raises `UsageError` where there is none."""
    text = read_toml(path, "plan")
    return parse_plan(text, str(path))


def parse_plan(text: str, title: str = "the plan") -> Written:
    """The plan in a text, which messages call `title`. Raises `UsageError` where it is none."""
    stated = parse_toml(text, title)
    schema = stated.pop("schema", None)
    if schema != SCHEMA:
        said = "has no schema" if schema is None else f"has the schema {schema!r}"
        raise UsageError(f'{title} {said}; a plan begins with schema = "{SCHEMA}"')
    need_keys(stated, ("default", "blocks", _GATES, _CALIBRATIONS), title)
    measured = _Measured(
        {
            name: _frozen(numbers, f"{title}: the gate of block {quoted(name)}")
            for name, numbers in _table(stated, _GATES, title).items()
        },
        {
            name: _calibration(numbers, f"{title}: the calibration of block {quoted(name)}")
            for name, numbers in _table(stated, _CALIBRATIONS, title).items()
        },
    )
    default, _ = _read_choice(stated.get("default", {"rows": Tiling().rows}), f"{title}: default", None, measured)
    assert not isinstance(default, Frozen)
    choices: dict[str, Tiling | Frozen | None] = {}
    notes: dict[str, str] = {}
    for name, value in _table(stated, "blocks", title).items():
        choices[name], note = _read_choice(value, f"{title}: block {quoted(name)}", name, measured)
        if note:
            notes[name] = note
    return Written(default, choices, notes)


@dataclass(frozen=True)
class _Measured:
    """The numbers of a plan that were measured, by block name."""

    gates: Mapping[str, Frozen]
    calibrations: Mapping[str, Calibration]


def _table(stated: Mapping[str, Any], key: str, title: str) -> Mapping[str, object]:
    found = stated.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"{title}: {key} is {_kind(found)}, not a table")
    return found


def _frozen(stated: object, where: str) -> Frozen:
    numbers = _read_numbers(stated, where)
    try:
        return Frozen(numbers)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _calibration(stated: object, where: str) -> Calibration:
    if not isinstance(stated, dict):
        raise UsageError(f"{where} is {_kind(stated)}, not a table")
    need_keys(stated, ("slopes", "offsets"), where)
    offsets = stated.get("offsets", [])
    if not isinstance(offsets, list):
        raise UsageError(f"{where}: offsets is {_kind(offsets)}, not a list of lists")
    slopes = _read_numbers(stated.get("slopes", []), f"{where}: slopes")
    rows = tuple(_read_numbers(row, f"{where}: an entry of offsets") for row in offsets)
    try:
        return Calibration(slopes, rows)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _read_numbers(stated: object, where: str) -> tuple[float, ...]:
    if not isinstance(stated, list):
        raise UsageError(f"{where} is {_kind(stated)}, not a list of numbers")
    strange = next((number for number in stated if type(number) not in (int, float)), None)
    if strange is not None:
        raise UsageError(f"{where} holds {_kind(strange)}, which is no number")
    try:
        return tuple(map(float, stated))
    except OverflowError:
        raise UsageError(f"{where} holds a number that is too large") from None


def _read_choice(
    value: object, where: str, name: str | None, measured: _Measured
) -> tuple[Tiling | Frozen | None, str]:
    """A choice and its note, for the block `name`; what was measured for it is in tables of its own."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {_kind(value)}, not a table as {{ rows = 7 }}")
    given = dict(value)
    need_keys(given, (*_KEYS, "note"), where)
    note = given.pop("note", "")
    if not isinstance(note, str):
        raise UsageError(f"{where}: note is {_kind(note)}, not a string")
    for key in given:
        wanted = str if key == "squeeze" else bool if key in ("balanced", _CALIBRATED) else int
        if type(given[key]) is not wanted:
            names = {str: "a string", bool: "true or false", int: "a whole number"}
            raise UsageError(f"{where}: {key} is {_kind(given[key])}, not {names[wanted]}")
    squeeze = given.get("squeeze", TILE)
    if squeeze in (GLOBAL, FROZEN):
        if len(given) > 1:
            raise UsageError(
                f"{where}: squeeze = {_string(squeeze)} takes no {next(k for k in given if k != 'squeeze')}"
            )
        return (None if squeeze == GLOBAL else _of(measured.gates, _GATES, name, where)), note
    if given.pop(_CALIBRATED, False):
        given["calibration"] = _of(measured.calibrations, _CALIBRATIONS, name, where)
    try:
        return Tiling(**({"rows": None} | given)), note
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


Numbers = TypeVar("Numbers", Frozen, Calibration)


def _of(found: Mapping[str, Numbers], table: str, name: str | None, where: str) -> Numbers:
    """The numbers of a block."""
    if name is None:
        raise UsageError(f"{where} needs [{table}], which are for blocks; give it block by block")
    if name not in found:
        raise UsageError(f"{where} needs numbers, but [{table}] has none for it")
    return found[name]


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else f"{value!r}"
