"""What `--target` may say: a name, or a TOML file with limits of one's own.

name = "board"

[[limits]]
operators = ["AveragePool"]
measure = "window_area"
most = 64
source = "data sheet, page 12"
version = "revision B"
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Union

from tse_onnx.errors import UsageError
from tse_onnx.files.toml import named_or_read, need_keys, parse_toml
from tse_onnx.passes.targets.target import Limit, Target
from tse_onnx.targets.known import TARGETS

# What the library takes: a name, a file, or the thing itself.
TargetLike = Union[str, "os.PathLike[str]", Target]

_FIELDS = {
    kind: {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    for kind in (Limit, Target)
}
_OPTIONAL = frozenset({"operators", "title"})
_LISTS = ("operators", "among", "except_for")


def target_of(value: TargetLike) -> Target:
    """The target that a name or a file means. Raises `UsageError` where there is none."""
    if isinstance(value, Target):
        return value
    return named_or_read(value, TARGETS, parse_target, what="target", wrong="a target is {}, or a .toml file, not {}")


def parse_target(text: str, title: str = "the target") -> Target:
    """The target in the text of a TOML file, which messages call `title`. Raises `UsageError`."""
    stated = parse_toml(text, title)
    _need(Target, stated, title)
    tables = stated["limits"]
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError(f"{title}: limits is a list of tables, [[limits]] for each")
    limits = tuple(_limit(table, f"{title}, limit {number}") for number, table in enumerate(tables, 1))
    try:
        return Target(**{"title": stated["name"], **stated, "limits": limits})
    except UsageError as error:
        raise UsageError(f"{title}: {error}") from None


def _limit(table: Mapping[str, Any], where: str) -> Limit:
    _need(Limit, table, where)
    values: dict[str, Any] = {"operators": ()}
    values |= {
        key: tuple(value) if key in _LISTS and isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return Limit(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _need(kind: type[Limit] | type[Target], table: Mapping[str, Any], where: str) -> None:
    need_keys(table, _FIELDS[kind], where)
    for name, needed in _FIELDS[kind].items():
        if needed and name not in table and name not in _OPTIONAL:
            raise UsageError(f"{where}: {name} is missing")
