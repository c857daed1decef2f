"""Multiply-accumulates of a node for one image, padding included and biases left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from tse_onnx.passes.graph.index import element_count, int_attribute
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types

Dims = Sequence["int | None"]
Shape = Callable[[str], "Dims | None"]
"""The dimensions of a value, by its name; None where nothing is known."""


def macs_of(node: NodeProto, types: Types) -> int:
    """What a node computes, in multiply-accumulates: 0 for all that multiplies no two values of which one is summed
    over, and where a size is not known."""
    rule = MULTIPLIES.of(node)
    return 0 if rule is None or not node.output else rule(node, lambda name: types[name].sizes)


def _window(weight: int) -> Callable[[NodeProto, Shape], int]:
    """A convolution, whose kernel [Co, Ci / g, k, k] is its input number `weight`."""
    return lambda node, shape: _image(shape(node.output[0])) * _count(_read(node, weight, shape), 1)


def _transposed(node: NodeProto, shape: Shape) -> int:
    """Every element of the input meets its kernel [Co / g, k, k]."""
    return _image(_read(node, 0, shape)) * _count(_read(node, 1, shape), 1)


def _product(second: int) -> Callable[[NodeProto, Shape], int]:
    """A product of matrices, whose input number `second` is summed over along its last axis but one, or along its last
    where it is transposed."""

    def of(node: NodeProto, shape: Shape) -> int:
        factor = _read(node, second, shape)
        if factor is None:
            return 0
        summed = factor[-1:] if int_attribute(node, "transB", 0) else factor[-2:][:1]
        return _image(shape(node.output[0])) * _count(summed)

    return of


def _read(node: NodeProto, slot: int, shape: Shape) -> Dims | None:
    return shape(node.input[slot]) if slot < len(node.input) else None


def _image(dims: Dims | None) -> int:
    """Elements of a value for one image."""
    return _count(dims, 1) if dims is not None and len(dims) > 1 else _count(dims)


def _count(dims: Dims | None, first: int = 0) -> int:
    """The product of dimensions from the `first` on; 0 where one is not known."""
    return 0 if dims is None else element_count(size or 0 for size in dims[first:])


MULTIPLIES: Rules[Callable[[NodeProto, Shape], int]] = Rules(
    {
        ("Conv", "ConvInteger", "com.microsoft::FusedConv"): _window(1),
        "QLinearConv": _window(3),
        "ConvTranspose": _transposed,
        ("Gemm", "MatMul", "MatMulInteger", "com.microsoft::FusedGemm", "com.microsoft::FusedMatMul"): _product(1),
        ("QLinearMatMul", "com.microsoft::QGemm"): _product(3),
    }
)
"""The operators that multiply two values and sum over one of their axes, and how many of these products they make."""
