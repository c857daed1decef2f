"""What of a graph is outside a target's limits, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnx import NodeProto

from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.targets.measures import OPERATOR, Numbers, is_global, measured
from tse_onnx.passes.targets.target import Limit, Target

UNKNOWN = "not known"
_SIZES = frozenset({"window", "scale"})  # what people write with a ×


@dataclass(frozen=True)
class Violation:
    """A node that is outside a limit: `node` is its name, or its first output where it has none, `scope` the graph that
    it is in ("" for the main one), `found` what is there instead.

    A number that depends on a size which is not known is none that is within the limit: `found` says so.
    """

    node: str
    operator: str
    scope: str
    limit: Limit
    found: str

    @property
    def known(self) -> bool:
        """Whether something outside the limit was found, and not only something that is not known."""
        return self.found != UNKNOWN


def violations(scopes: Iterable[Scope], target: Target) -> tuple[Violation, ...]:
    """All that is outside the limits of `target`, in node order, those of a node in the order of the limits."""
    return tuple(found for scope in scopes for node in scope.index.nodes for found in outside(node, scope, target))


def outside(node: NodeProto, scope: Scope, target: Target) -> Iterator[Violation]:
    """All that one node is outside of."""
    name = operator(node)
    if name == "Constant" or not node.output:  # data, whatever it is written as
        return
    for limit in target.limits:
        if not limit.concerns(name) or scope.opset < limit.since:
            continue
        found = _found(node, scope, limit)
        if found:
            yield Violation(node.name or node.output[0], name, scope.title, limit, found)


def _found(node: NodeProto, scope: Scope, limit: Limit) -> str:
    """What is outside the limit, as a text; "" where nothing is."""
    if limit.measure == OPERATOR:
        return operator(node)
    numbers = measured(limit.measure, node, scope)
    beyond = any(number is not None and not limit.takes(number) for number in numbers)
    if not beyond and None not in numbers:
        return ""
    if limit.unless_global:
        whole = is_global(node, scope)
        if whole:
            return ""
        beyond = beyond and whole is not None
    return _text(numbers, " × " if limit.measure in _SIZES else ", ") if beyond else UNKNOWN


def _text(numbers: Numbers, between: str) -> str:
    return between.join("?" if number is None else f"{number:g}" for number in numbers)
