"""Which operator a node is, and tables that have something to say of each.

onnx's own domain is written "" or "ai.onnx" in models; here it is left out. Operators of other domains are written
domain::operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from onnx import NodeProto, OperatorSetIdProto

T = TypeVar("T")


def is_default(domain: str) -> bool:
    """Whether a domain is onnx's own, in either spelling."""
    return domain in ("", "ai.onnx")


def operator(node: NodeProto) -> str:
    """The operator of a node: its name, behind domain:: where the domain is not onnx's own."""
    return node.op_type if is_default(node.domain) else f"{node.domain}::{node.op_type}"


def opset_of(imports: Iterable[OperatorSetIdProto]) -> int:
    """The version of onnx's own operators among what a model or a function imports; 0 where it imports none."""
    return next((entry.version for entry in imports if is_default(entry.domain)), 0)


class Rules(Mapping[str, T], Generic[T]):
    """What is to be done with each operator, as a table: operators, several to a row, and their rule.

    Tables are joined with `|`. A rule for an operator that has one already is a fault of the program: `ValueError`.
    """

    def __init__(self, rows: Mapping[str | tuple[str, ...], T]) -> None:
        self._rules: dict[str, T] = {}
        for operators, rule in rows.items():
            for name in (operators,) if isinstance(operators, str) else operators:
                if name in self._rules:
                    raise ValueError(f"there are two rules for {name}")
                self._rules[name] = rule

    def of(self, node: NodeProto) -> T | None:
        """The rule for a node's operator, if there is one."""
        return self._rules.get(operator(node))

    def __or__(self, other: Rules[T]) -> Rules[T]:
        twice = self._rules.keys() & other._rules.keys()
        if twice:
            raise ValueError(f"there are two rules for {', '.join(sorted(twice))}")
        joined: Rules[T] = Rules({})
        joined._rules = self._rules | other._rules
        return joined

    def __getitem__(self, name: str) -> T:
        return self._rules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)
