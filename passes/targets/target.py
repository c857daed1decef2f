"""A target: the limits of a compiler or a device, each with what says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tse_onnx.errors import UsageError
from tse_onnx.passes.reasons import printable
from tse_onnx.passes.targets.measures import MEASURES, OPERATOR, Number

_LARGEST = 2**63


@dataclass(frozen=True)
class Limit:
    """One thing that a target does not take. Raises `UsageError` for a value that a field cannot have, by its name.

    * `operators`: those that it concerns, others than onnx's own as domain::operator; every operator where there is
      none, but for those in `except_for`.
    * `measure`: what is looked at in a node, a key of `MEASURES`. `operator` is the operator itself: it is not taken.
    * `least`, `most`: every number of the measure has to lie between them; `among`: it has to be one of these.
    * `source`, `version`: where that is said, and of which version or when.
    * `effect`: what happens to a node that is outside, where the source says it.
    * `unless_global`: a window that is as large as the map is taken all the same.
    * `since`: it concerns models from this opset on.
    """

    operators: tuple[str, ...]
    measure: str
    source: str
    version: str
    least: Number | None = None
    most: Number | None = None
    among: tuple[Number, ...] = ()
    effect: str = ""
    unless_global: bool = False
    since: int = 0
    except_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _texts(self.operators):
            raise UsageError(f"operators is a list of names, not {_shown(self.operators)}")
        if not _texts(self.except_for):
            raise UsageError(f"except_for is a list of names, not {_shown(self.except_for)}")
        if self.operators and self.except_for:
            raise UsageError("except_for goes with every operator, and operators names some")
        if not isinstance(self.measure, str) or self.measure not in MEASURES:
            raise UsageError(f"measure is {', '.join(MEASURES)}, not {_shown(self.measure)}")
        for name in ("source", "version"):
            if not (isinstance(value := getattr(self, name), str) and value.strip()):
                raise UsageError(f"{name} is a text that says where the limit is from, not {_shown(value)}")
        if not isinstance(self.effect, str):
            raise UsageError(f"effect is a text, not {_shown(self.effect)}")
        for name in ("least", "most"):
            if (value := getattr(self, name)) is not None and not _is_number(value):
                raise UsageError(f"{name} is a number, not {_shown(value)}")
        if not isinstance(self.among, tuple) or not all(map(_is_number, self.among)):
            raise UsageError(f"among is a list of numbers, not {_shown(self.among)}")
        if not isinstance(self.unless_global, bool):
            raise UsageError(f"unless_global is true or false, not {_shown(self.unless_global)}")
        if not (type(self.since) is int and 0 <= self.since < _LARGEST):
            raise UsageError(f"since is an opset, not {_shown(self.since)}")
        self._need_bounds()

    def _need_bounds(self) -> None:
        bounded = self.least is not None or self.most is not None or bool(self.among)
        if self.measure == OPERATOR and bounded:
            raise UsageError("least, most and among do not go with the measure operator, which is not taken at all")
        if self.measure == OPERATOR and not self.operators and not self.except_for:
            raise UsageError("operators has to name what is not taken")
        if self.measure != OPERATOR and not bounded:
            raise UsageError(f"measure {self.measure} needs least, most or among")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise UsageError(f"least is {self.least:g}, and most is {self.most:g}")

    def concerns(self, operator: str) -> bool:
        """Whether it is about an operator, by name."""
        return operator in self.operators if self.operators else operator not in self.except_for

    def takes(self, number: Number) -> bool:
        """Whether a number that was measured is within the limit."""
        if self.measure == OPERATOR or (self.least is not None and number < self.least):
            return False
        return (self.most is None or number <= self.most) and (not self.among or number in self.among)

    def __str__(self) -> str:
        if self.measure == OPERATOR:
            return "not taken"
        words = []
        if self.most is not None and self.least == self.most:
            words.append(f"{self.most:g}")
        elif self.least is not None and self.most is not None:
            words.append(f"{self.least:g} to {self.most:g}")
        elif self.most is not None:
            words.append(f"at most {self.most:g}")
        elif self.least is not None:
            words.append(f"at least {self.least:g}")
        if self.among:
            words.append("one of " + ", ".join(f"{number:g}" for number in self.among))
        said = f"{self.measure.replace('_', ' ')} {' and '.join(words)}"
        return said + " unless global" * self.unless_global + (f" from opset {self.since}" if self.since else "")


@dataclass(frozen=True)
class Target:
    """A compiler or a device by the limits that are known of it: what is within them all may still be refused.

    `title` says what it is. `note` is a sentence for whoever converts for it, where there is one to say, as where no
    limit is known. Raises `UsageError` for a value that a field cannot have, by its name.
    """

    name: str
    title: str
    limits: tuple[Limit, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "title", "note"):
            if not isinstance(value := getattr(self, field), str):
                raise UsageError(f"{field} is a text, not {_shown(value)}")
        if not self.name.strip():
            raise UsageError("name is empty")
        if not (isinstance(self.limits, tuple) and all(isinstance(limit, Limit) for limit in self.limits)):
            raise UsageError("limits is a list of tables, [[limits]] for each")
        if not self.limits and not self.note:
            raise UsageError("limits is empty: without one, every model would pass; a note has to say so")


def _texts(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) and value for value in values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = list(value)
    return printable(f"{value!r}"[:60])
