"""A running squeeze in half precision, computed as its types say.

onnxruntime computes half precision in single precision on a processor, and bfloat16 is proved by a twin in single
precision: neither shows what is lost where sums of many rows are left in half precision. So the nodes that make the
means run in numpy, each value in its own type, and a sum is rounded at every row. The means of single rows are rounded
once: how an accelerator adds up what it reduces is its own affair, and the same for the original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.tiling import Running
from tse_onnx.passes.edit.excerpt import Excerpt, excerpt
from tse_onnx.passes.graph.index import GraphIndex, attribute, int_attribute, ints_attribute
from tse_onnx.passes.reasons import quoted
from tse_onnx.verification.oracle import statistic_of
from tse_onnx.verification.result import Check

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Of the rows' means, of what is made of them, and of an offset, each to half a step; and one to spare.
_ROUNDINGS = 4


@dataclass(frozen=True)
class NarrowCheck:
    """The means of one block: `ratio` is the largest error as a multiple of what a few roundings explain; `unknown` an
    operator that keeps them from being computed here, or ""."""

    name: str
    ratio: float
    unknown: str = ""


def check_narrow(form: Form, converted: GraphIndex, block: Convertible, x: np.ndarray) -> NarrowCheck | None:
    """Compute the means of `x`, the pooled map, as the converted graph does; None where it adds up no rows in half
    precision."""
    if block.dtype not in _HALF or not isinstance(form, Running):
        return None
    squeeze = block.anatomy.squeeze
    dtype = onnx.helper.tensor_dtype_to_np_dtype(block.dtype)
    part = excerpt(converted, {squeeze.input}, [squeeze.output])
    unknown = next((node.op_type for node in part.nodes if node.op_type not in _OPERATORS), "")
    if unknown or part.missing:
        return NarrowCheck(block.name, 0.0, unknown or "an operator from elsewhere")
    with np.errstate(all="ignore"):
        made = _run(part, {squeeze.input: x.astype(dtype)})[squeeze.output].astype(np.float64)
    batch, channels = x.shape[0], x.shape[squeeze.channel]
    made = made.reshape(batch, channels, -1)
    each_row = made.shape[2] != form.count  # what is made for each row is the same for all that a gate scales
    worst = 0.0
    for number, (source, target) in enumerate(form.pieces()):
        region: list[slice] = [slice(None)] * x.ndim
        for axis, span in zip(squeeze.spatial, source, strict=True):
            region[axis] = span
        crop = x[tuple(region)].astype(np.float64)
        mean, size = (statistic_of(squeeze, values).reshape(batch, channels) for values in (crop, np.abs(crop)))
        if form.calibration is not None:
            slope, offsets = form.calibration.slopes[number], np.array(form.calibration.offsets[number])
            mean, size = slope * mean + offsets, abs(slope) * size + np.abs(offsets)
        finite = np.isfinite(mean) & (np.abs(mean) <= _largest(dtype))
        allowed = _ROUNDINGS * _step(dtype) * size + _smallest(dtype)
        own = made[:, :, target[form.axis] if each_row else slice(number, number + 1)]
        error = np.where(finite[..., None], np.abs(own - mean[..., None]), 0) / allowed[..., None]
        worst = float(np.maximum(worst, np.max(np.where(np.isnan(error), np.inf, error), initial=0.0)))
    return NarrowCheck(block.name, worst)


def narrow_means(checks: Sequence[NarrowCheck]) -> Check:
    """The checks of all blocks as one."""
    failed = [check for check in checks if not check.ratio <= 1]
    if failed:
        texts = (
            f"the running means of block {quoted(check.name)} lose in half precision {check.ratio:.3g} times what "
            "rounding explains"
            for check in failed
        )
        return Check("half-precision", False, "; ".join(texts))
    done = sum(not check.unknown for check in checks)
    text = f"the running means of {done} of {len(checks)} blocks are right in half precision as well"
    for check in checks:
        if check.unknown:
            text += f"; not computed for {quoted(check.name)}, because of {quoted(check.unknown)}"
    return Check("half-precision", True, text)


def _step(dtype: np.dtype[Any]) -> float:
    """Half the relative step between numbers of a type."""
    return 2.0**-11 if dtype == np.float16 else 2.0**-8


def _smallest(dtype: np.dtype[Any]) -> float:
    return 2.0**-24 if dtype == np.float16 else 2.0**-133


def _largest(dtype: np.dtype[Any]) -> float:
    return 65504.0 if dtype == np.float16 else 3.38e38


def _run(part: Excerpt, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values |= {tensor.name: numpy_helper.to_array(tensor) for tensor in part.weights}
    for node in part.nodes:
        values[node.output[0]] = _OPERATORS[node.op_type](node, [values[name] for name in node.input if name])
    return values


def _constant(node: NodeProto, given: list[np.ndarray]) -> np.ndarray:
    found = attribute(node, "value")
    if found is not None:
        return numpy_helper.to_array(found.t)
    return np.array(onnx.helper.get_attribute_value(node.attribute[0]))


def _reduce_mean(node: NodeProto, given: list[np.ndarray]) -> np.ndarray:
    axes = tuple(given[1].tolist()) if len(given) > 1 else ints_attribute(node, "axes")
    kept = bool(int_attribute(node, "keepdims", 1))
    return np.asarray(given[0].astype(np.float64).mean(axis=axes, keepdims=kept).astype(given[0].dtype))


def _cast(node: NodeProto, given: list[np.ndarray]) -> np.ndarray:
    return given[0].astype(onnx.helper.tensor_dtype_to_np_dtype(int_attribute(node, "to", 0)))


def _mat_mul(node: NodeProto, given: list[np.ndarray]) -> np.ndarray:
    one, two = given
    found = one[..., :, :1] * two[..., :1, :]
    for at in range(1, one.shape[-1]):
        found = found + one[..., :, at : at + 1] * two[..., at : at + 1, :]
    return np.asarray(found)


def _reshape(node: NodeProto, given: list[np.ndarray]) -> np.ndarray:
    dims = [length or given[0].shape[axis] for axis, length in enumerate(given[1].tolist())]
    return given[0].reshape(dims)


_OPERATORS: dict[str, Callable[[NodeProto, list[np.ndarray]], np.ndarray]] = {
    "Constant": _constant,
    "ReduceMean": _reduce_mean,
    "Cast": _cast,
    "MatMul": _mat_mul,
    "Reshape": _reshape,
    "Transpose": lambda node, given: given[0].transpose(ints_attribute(node, "perm")),
    "CumSum": lambda node, given: np.add.accumulate(given[0], axis=int(given[1])),
    "Gather": lambda node, given: given[0].take(given[1], axis=int_attribute(node, "axis", 0)),
    "Sqrt": lambda node, given: np.sqrt(given[0]),
    "Add": lambda node, given: given[0] + given[1],
    "Mul": lambda node, given: given[0] * given[1],
    "Div": lambda node, given: given[0] / given[1],
    "Identity": lambda node, given: given[0],
}
