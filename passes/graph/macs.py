"""Multiply-accumulates of a node, for one image."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from tse_onnx.passes.graph.index import element_count, int_attribute
from tse_onnx.passes.graph.operators import is_default
from tse_onnx.passes.graph.types import Types

# Where the weights of a convolution are among its inputs, and where the second factor of a product is.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "FusedMatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1, "QGemm": 3}


def macs_of(node: NodeProto, types: Types) -> int:
    """What a node computes, in multiply-accumulates: 0 for all that multiplies no weights, and where a size is not
    known."""
    if not (is_default(node.domain) or node.domain == "com.microsoft") or not node.output:
        return 0
    if node.op_type in _CONVOLUTIONS:
        return _of_image(types[node.output[0]].sizes) * _count(_sizes(node, _CONVOLUTIONS[node.op_type], types)[1:])
    if node.op_type == "ConvTranspose":
        return _of_image(_sizes(node, 0, types)) * _count(_sizes(node, 1, types)[1:])
    if node.op_type in _PRODUCTS:
        second = _sizes(node, _PRODUCTS[node.op_type], types)
        transposed = bool(int_attribute(node, "transB", 0))
        summed = second[-1:] if transposed else second[-2:][:1]
        return _of_image(types[node.output[0]].sizes) * _count(summed)
    return 0


def _sizes(node: NodeProto, slot: int, types: Types) -> tuple[int | None, ...]:
    return (types[node.input[slot]].sizes or ()) if slot < len(node.input) else ()


def _of_image(sizes: Sequence[int | None] | None) -> int:
    return _count((sizes or ())[1:])


def _count(sizes: Sequence[int | None]) -> int:
    return element_count(size or 0 for size in sizes) if sizes else 0
