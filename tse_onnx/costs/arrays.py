"""What `--array` may say: a name, or a TOML file with the keys of `Array`.

name = "board"
size = 32
buffer = 524288
dataflows = ["ws"]
energy = "eyeriss2016"
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Union

from tse_onnx.costs.array import Array
from tse_onnx.costs.energy import Energy
from tse_onnx.errors import UsageError
from tse_onnx.files.toml import named_or_read, need_keys, parse_toml

ArrayLike = Union[str, "os.PathLike[str]", Array]
"""What the library takes: a name, a file, or the thing itself."""

ARRAYS: Mapping[str, Array] = {
    each.name: each for each in (Array("squeezelerator8", 8, 32 * 1024), Array("squeezelerator16", 16, 128 * 1024))
}
"""The two arrays of the SqueezeNext paper: 16-bit multipliers, two fifths of the weights zero."""

_FIELDS = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(Array)}
_ENERGIES = tuple(field.name for field in dataclasses.fields(Energy) if field.default is dataclasses.MISSING)


def array_of(value: ArrayLike) -> Array:
    """The array that a name or a file means. Raises `UsageError` where there is none."""
    if isinstance(value, Array):
        return value
    return named_or_read(value, ARRAYS, parse_array, what="array", wrong="an array is {}, or a .toml file, not {}")


def parse_array(text: str, title: str = "the array") -> Array:
    """The array in the text of a TOML file, which messages call `title`. Raises `UsageError`."""
    stated = parse_toml(text, title)
    need_keys(stated, _FIELDS, title)
    for name, needed in _FIELDS.items():
        if needed and name != "name" and name not in stated:
            raise UsageError(f"{title}: {name} is missing")
    values: dict[str, Any] = {"name": title, **stated}
    try:
        if isinstance(values.get("dataflows"), list):
            values["dataflows"] = tuple(values["dataflows"])
        energy = values.pop("energy", None)
        if isinstance(energy, str):
            return Array(**values).with_energy(energy)
        return Array(**values, energy=None if energy is None else _parse_energy(energy))
    except UsageError as error:
        raise UsageError(f"{title}: {error}") from None


def _parse_energy(table: object) -> Energy:
    if not isinstance(table, dict):
        raise UsageError("energy is a table, or the name of one that is published")
    need_keys(table, _ENERGIES, "energy")
    for name in _ENERGIES:
        if name not in table:
            raise UsageError(f"energy: {name} is missing")
    try:
        return Energy(**table)
    except UsageError as error:
        raise UsageError(f"energy: {error}") from None
