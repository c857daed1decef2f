"""The type in which a machine holds a value.

A model says by QuantizeLinear and DequantizeLinear in which type a value is, though what its operators read is in
single precision: what DequantizeLinear makes is held as it was before that.
"""

from __future__ import annotations

from collections.abc import Callable

from tse_onnx.passes.graph.index import GraphIndex
from tse_onnx.passes.graph.operators import Rules

_DEQUANTISES = Rules({("DequantizeLinear", "com.microsoft::DequantizeLinear"): True})
_MOVES = Rules({("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"): True})
"""Operators whose output is numbers of their first operand, where they lie otherwise."""


def held_type(value: str, index: GraphIndex, type_of: Callable[[str], int]) -> int:
    """The type (a `TensorProto.DataType`) that a value is held in, where `type_of` says what it is in the model."""
    at, seen = value, set[str]()
    while (position := index.producer(at)) is not None and at not in seen:
        node = index.nodes[position]
        if _DEQUANTISES.of(node):
            return type_of(node.input[0]) or type_of(value)
        if not _MOVES.of(node):
            break
        seen.add(at)
        at = node.input[0]
    return type_of(value)
