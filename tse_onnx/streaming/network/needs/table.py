"""Which rows of its inputs a row of each operator's output needs: the one table, joined of the families'.

An operator that is not in the table is a barrier: it needs all rows, and the result names it. The same rules serve for
columns, where a machine streams pixels: `direction` is the spatial axis they speak of.
"""

from __future__ import annotations

from tse_onnx.passes.graph.operators import Rules
from tse_onnx.streaming.network.needs.moves import MOVES
from tse_onnx.streaming.network.needs.products import PRODUCTS
from tse_onnx.streaming.network.needs.reductions import REDUCTIONS
from tse_onnx.streaming.network.needs.rowwise import ROWWISE
from tse_onnx.streaming.network.needs.rule import Rule, barrier
from tse_onnx.streaming.network.needs.view import Flow, View
from tse_onnx.streaming.network.needs.windows import WINDOWS

NEEDS: Rules[Rule] = ROWWISE | WINDOWS | REDUCTIONS | PRODUCTS | MOVES
EVERY_OUTPUT = frozenset({"Split"})
"""Operators whose rules speak of each of their outputs, not of the first alone."""


def flow_of(view: View, direction: int) -> Flow:
    """How the node's output comes from its inputs, row by row."""
    rule = NEEDS.of(view.node)
    if rule is None:
        return barrier(view, direction, "the model does not know this operator")
    if view.slot and view.node.op_type not in EVERY_OUTPUT:
        return barrier(view, direction, f"output {view.slot} depends on the whole map")
    return rule(view, direction)
