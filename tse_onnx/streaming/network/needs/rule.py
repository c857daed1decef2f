"""What a rule is, and what all rules share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tse_onnx.streaming.network.needs.axis import Axis, spatial
from tse_onnx.streaming.network.needs.rows import Need, listed
from tse_onnx.streaming.network.needs.view import Flow, Operand, View

Rule = Callable[[View, int], Flow]
"""How an operator's output comes from its inputs, in one direction: rows, or columns."""


def needs_of(view: View, need: Callable[[Operand], Need]) -> tuple[Need | None, ...]:
    return tuple(need(each) if each is not None and each.streams else None for each in view.operands)


def by_data(rule: Rule) -> Rule:
    """A rule for the data alone. What else the node reads says which type or shape the output has; both are known, and
    none of its rows is waited for."""

    def flow(view: View, direction: int) -> Flow:
        found = rule(replace(view, operands=view.operands[:1]), direction)
        none = [()] * count_of(found.axis)
        others = (listed(each.tokens, none) if each is not None and each.streams else None
                  for each in view.operands[1:])  # fmt: skip
        return replace(found, needs=(*found.needs, *others))

    return flow


def count_of(axis: Axis | None) -> int:
    return axis.size if axis is not None else 1


def barrier(view: View, direction: int, why: str) -> Flow:
    axis = spatial(view.dims, direction)
    for operand in view.streaming:
        lies = operand.axis
        if lies is not None and len(operand.dims) == len(view.dims) and lies.plain:
            axis = Axis(lies.axis, view.dims[lies.axis])
            break
    whole = all(operand.tokens == 1 for operand in view.streaming)
    return Flow(axis, needs_of(view, lambda operand: operand.all(count_of(axis))), barrier="" if whole else why)
