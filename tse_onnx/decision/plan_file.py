"""Plans as TOML files: written to be edited by hand and kept in version control, read with an answer to every mistake.

A block is one line, its name the key, so that a change of one choice is a change of one line. Whatever the names hold,
the file has no character in it that does not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tse_onnx.decision.decision import CONVERTED, REFUSED, Decision
from tse_onnx.errors import UsageError
from tse_onnx.files.toml import need_keys, parse_toml, read_toml
from tse_onnx.passes.blocks.choice import GLOBAL, Choice
from tse_onnx.passes.blocks.choices import CHOICES, SQUEEZES, choice_of, fields_of
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.tiling import TILE, Calibration, Tiling
from tse_onnx.passes.reasons import printable, quoted

SCHEMA = "tse-onnx/plan/1"
_GATES, _FIRST, _CALIBRATIONS, _CALIBRATED = "gates", "first", "calibrations", "calibrated"
# Where the numbers of a measured field stand, and the key of a choice that says that there are some.
_TABLES: Mapping[str, tuple[str, str]] = {
    "gate": (_GATES, ""), "first": (_FIRST, ""), "calibration": (_CALIBRATIONS, _CALIBRATED)
}  # fmt: skip
_MAX_MACS, _TARGET, _WEIGHTS, _QUANTISED = "max_macs", "target", "weights", "quantised"
_TYPES = {"squeeze": str, "held": str, "balanced": bool, "divisors": bool, "cascade": bool, _CALIBRATED: bool}

_EXAMPLES = "\n".join(f"#   {line + '  ':<47} {meaning}" for kind in CHOICES for line, meaning in kind.examples)
_HEADER = f"""\
# Which block gets which tiles: tse-onnx convert MODEL OUTPUT --plan THIS_FILE
#
# Every block is a line: its name, its tiling, and as a comment C × H × W of its map.
{_EXAMPLES}
#   {{ squeeze = "global" }}                          stays as it is; note = "..." may say why
# axis = 1 streams the second spatial axis. Blocks without a line get the default.
"""


class Written(NamedTuple):
    """What a plan file says: the fields of a `Plan`."""

    default: Choice | None
    choices: Mapping[str, Choice | None]
    notes: Mapping[str, str]
    max_macs: float | None
    target: str | None
    weights: Mapping[str, str]
    quantised: str | None = None


class _Planned(Protocol):
    @property
    def default(self) -> Choice | None: ...
    @property
    def choices(self) -> Mapping[str, Choice | None]: ...
    @property
    def notes(self) -> Mapping[str, str]: ...
    @property
    def max_macs(self) -> float | None: ...
    @property
    def target(self) -> str | None: ...
    @property
    def weights(self) -> Mapping[str, str]: ...
    @property
    def quantised(self) -> str | None: ...


def plan_text(plan: _Planned, decisions: Iterable[Decision] = ()) -> str:
    """The file that says what `plan` says.

    With `decisions` every block has its line, in their order, with a comment, and what is refused is a comment.
    """
    lines = [f"schema = {_string(SCHEMA)}", f"default = {_choice(plan.default)}"]
    if plan.max_macs is not None:
        lines.append(f"{_MAX_MACS} = {plan.max_macs:g}")
    if plan.target is not None:
        lines.append(f"{_TARGET} = {_string(plan.target)}")
    if plan.quantised is not None:
        lines.append(f"{_QUANTISED} = {_string(plan.quantised)}")
    lines += ["", "[blocks]"]
    left = dict(plan.choices)
    for decision in decisions:
        name = decision.block.name
        if decision.status == REFUSED and name not in left:
            lines.append(f"# {_string(name)} is refused: {printable(decision.reason or '')}")
            continue
        tiling = left.pop(name) if name in left else plan.default
        lines.append(f"{_string(name)} = {_choice(tiling, plan.notes.get(name, ''))}  # {_remark(decision)}")
    lines += [f"{_string(name)} = {_choice(tiling, plan.notes.get(name, ''))}" for name, tiling in left.items()]
    said = {name: fields_of(choice) for name, choice in plan.choices.items()}
    for field, table in (("gate", _GATES), ("first", _FIRST)):
        if rows := {name: fields[field] for name, fields in said.items() if field in fields}:
            lines += ["", f"[{table}]"]
            lines += [f"{_string(name)} = {_numbers(numbers)}" for name, numbers in rows.items()]
    for name, fields in said.items():
        if (numbers := fields.get("calibration")) is not None:
            lines += ["", f"[{_CALIBRATIONS}.{_string(name)}]", f"slopes = {_numbers(numbers['slopes'])}"]
            lines += ["offsets = [", *(f"  {_numbers(row)}," for row in numbers["offsets"]), "]"]
    if plan.weights:
        lines += ["", f"[{_WEIGHTS}]", *(f"{_string(name)} = {_string(mark)}" for name, mark in plan.weights.items())]
    return _HEADER + "\n" + "\n".join(lines) + "\n"


def _numbers(numbers: Iterable[float]) -> str:
    return "[" + ", ".join(map(repr, numbers)) + "]"


def _remark(decision: Decision) -> str:
    block = decision.block
    sizes = (block.channels, *block.extents) if block.extents else (block.shape or ())[1:]
    shape = " × ".join("?" if size is None else str(size) for size in sizes)
    if decision.status == REFUSED:
        return f"{shape}; refused: {printable(decision.reason or '')}"
    if not decision.reason or decision.choice is None or (decision.status == CONVERTED and decision.tiling is None):
        return shape  # the reason for a frozen gate is a note of its line
    return f"{shape}; {printable(decision.reason or '')}"


def _choice(choice: Choice | None, note: str = "") -> str:
    """One choice as an inline table. What is not written is what a table without it means."""
    entries: dict[str, object] = {}
    for key, value in fields_of(choice).items():
        if key not in _TABLES:
            entries[key] = value
        elif flag := _TABLES[key][1]:
            entries[flag] = True
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
    need_keys(
        stated, ("default", _MAX_MACS, _TARGET, _QUANTISED, "blocks", _GATES, _FIRST, _CALIBRATIONS, _WEIGHTS), title
    )
    measured: Measured = {
        "gate": {
            name: _row(numbers, f"{title}: the gate of block {quoted(name)}", Frozen)
            for name, numbers in _table(stated, _GATES, title).items()
        },
        "first": {
            name: _row(numbers, f"{title}: the first gate of block {quoted(name)}", Previous)
            for name, numbers in _table(stated, _FIRST, title).items()
        },
        "calibration": {
            name: _calibration(numbers, f"{title}: the calibration of block {quoted(name)}")
            for name, numbers in _table(stated, _CALIBRATIONS, title).items()
        },
    }
    default, _ = _read_choice(stated.get("default", {"rows": Tiling().rows}), f"{title}: default", None, measured)
    choices: dict[str, Choice | None] = {}
    notes: dict[str, str] = {}
    for name, value in _table(stated, "blocks", title).items():
        choices[name], note = _read_choice(value, f"{title}: block {quoted(name)}", name, measured)
        if note:
            notes[name] = note
    for field, numbers in measured.items():
        if (lost := next((name for name in numbers if name not in choices), None)) is not None:
            raise UsageError(f"{title}: {_TABLES[field][0]} is for block {quoted(lost)}, which has no line in blocks")
    target = stated.get(_TARGET)
    if target is not None and not (isinstance(target, str) and target):
        raise UsageError(f"{title}: {_TARGET} is {_kind(target)}, not a name or a file")
    quantised = stated.get(_QUANTISED)
    if quantised is not None and not (isinstance(quantised, str) and quantised):
        raise UsageError(f"{title}: {_QUANTISED} is {_kind(quantised)}, not the operators that were quantised")
    weights: dict[str, str] = {}
    for name, mark in _table(stated, _WEIGHTS, title).items():
        if not isinstance(mark, str):
            raise UsageError(f"{title}: the fingerprint of the weights {quoted(name)} is {_kind(mark)}, not a string")
        weights[name] = mark
    return Written(default, choices, notes, _limit(stated.get(_MAX_MACS), title), target, weights, quantised)


def _limit(stated: object, title: str) -> float | None:
    if stated is not None and type(stated) not in (int, float):
        raise UsageError(f"{title}: {_MAX_MACS} is {_kind(stated)}, not a number")
    return None if stated is None else float(stated)  # type: ignore[arg-type]


Measured = Mapping[str, Mapping[str, Any]]
"""The numbers of a plan that were measured: by the field that they are for, and by block name."""


def _table(stated: Mapping[str, Any], key: str, title: str) -> Mapping[str, object]:
    found = stated.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"{title}: {key} is {_kind(found)}, not a table")
    return found


def _row(stated: object, where: str, kind: Callable[[tuple[float, ...]], Choice]) -> tuple[float, ...]:
    """A list of numbers of which a choice can be made."""
    numbers = _read_numbers(stated, where)
    try:
        kind(numbers)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return numbers


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


def _read_choice(value: object, where: str, name: str | None, measured: Measured) -> tuple[Choice | None, str]:
    """A choice and its note, for the block `name`; what was measured for it is in tables of its own."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {_kind(value)}, not a table as {{ rows = 7 }}")
    given = dict(value)
    need_keys(given, (*dict.fromkeys(key for kind in CHOICES for key in _keys(kind)), "note"), where)
    note = given.pop("note", "")
    if not isinstance(note, str):
        raise UsageError(f"{where}: note is {_kind(note)}, not a string")
    for key in given:
        wanted = _TYPES.get(key, int)
        if type(given[key]) is not wanted:
            names = {str: "a string", bool: "true or false", int: "a whole number"}
            raise UsageError(f"{where}: {key} is {_kind(given[key])}, not {names[wanted]}")
    squeeze = given.get("squeeze", TILE)
    kind = SQUEEZES.get(squeeze)
    taken = ("squeeze",) if squeeze == GLOBAL else given if kind is None else _keys(kind)
    if (strange := next((key for key in given if key not in taken), None)) is not None:
        raise UsageError(f"{where}: squeeze = {_string(squeeze)} takes no {strange}")
    if kind is not None:
        for field in kind.measured():
            flag = _TABLES[field][1]
            if given.pop(flag, False) if flag else kind.needs_numbers() or name in measured[field]:
                given[field] = _of(measured, field, name, where)
    try:
        return choice_of(given), note
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _keys(kind: type[Choice]) -> tuple[str, ...]:
    """The keys of a choice of this kind."""
    return (*kind.settings(), *filter(None, (_TABLES[field][1] for field in kind.measured())))


def _of(measured: Measured, field: str, name: str | None, where: str) -> object:
    """The numbers of a block."""
    table = _TABLES[field][0]
    if name is None:
        raise UsageError(f"{where} needs [{table}], which are for blocks; give it block by block")
    if name not in measured[field]:
        raise UsageError(f"{where} needs numbers, but [{table}] has none for it")
    return measured[field][name]


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else f"{value!r}"
