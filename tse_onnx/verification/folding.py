"""The proof of a folding: every convolution against the original's, within what the order of its sums explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from tse_onnx.errors import CheckFailed
from tse_onnx.files.external import loaded
from tse_onnx.passes.data_folding.fold import Folded, Folding
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.edit.splice import Change
from tse_onnx.passes.graph.checker import complaint
from tse_onnx.passes.graph.scope import Scope
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.widen import widened
from tse_onnx.verification.outside import outside_differences

_EPSILON = {2: 2.0**-10, 4: 2.0**-23, 8: 2.0**-52}
"""By the bytes of a number, twice what rounding it changes it by, as a share of itself."""


@dataclass(frozen=True)
class FoldCheck:
    """How far a convolution is from the original's: the largest share of what another order of its sums explains."""

    name: str
    error: float


def check_folding(
    original: ModelProto, made: ModelProto, scope: Scope, folding: Folding, folder: Path | None, seed: int = 0
) -> tuple[FoldCheck, ...]:
    """Compare every changed convolution with the original's on seeded noise, and all else byte for byte.

    Each output may differ by what adding its products in another order explains: by as many roundings as it has
    products, each of the sum of their magnitudes. Raises `CheckFailed` where one does by more.
    """
    differences = outside_differences(original, made, [Change((), (folding.edit,))])
    if differences:
        raise CheckFailed(f"outside of the edit something has changed: {differences[0]}")
    if complaint(original) is None and (text := complaint(made)) is not None:
        raise CheckFailed(f"the model that was made is not valid: {text}")
    return tuple(_checked(original, scope, folding, one, folder, seed) for one in folding.changed)


def _checked(
    original: ModelProto, scope: Scope, folding: Folding, one: Folded, folder: Path | None, seed: int
) -> FoldCheck:
    kind = scope.types[one.input]
    dims = tuple(size or 1 for size in kind.sizes or ())
    noise = np.random.default_rng(seed).standard_normal(dims)
    parts = [
        widened(_whole(excerpt(scope.index, {one.input}, [one.output], edit).model(
            original, {one.input: TensorType(kind.dtype, dims)}, [one.output]
        ), folder))
        for edit in (None, folding.edit)
    ]  # fmt: skip
    dtype = tensor_dtype_to_np_dtype(parts[0].graph.input[0].type.tensor_type.elem_type)
    before, after = (_run(part, one, noise.astype(dtype)) for part in parts)
    magnitudes = _run(_positive(parts[0]), one, np.abs(noise).astype(dtype))
    allowed = _EPSILON[dtype.itemsize] * (one.products + 2) * magnitudes
    if before.shape != after.shape:
        raise CheckFailed(f"{quoted(one.name)} makes {list(after.shape)} in place of {list(before.shape)}")
    error = float(np.max(np.abs(after - before) / np.maximum(allowed, np.finfo(np.float64).tiny), initial=0.0))
    if not error <= 1 or math.isnan(error):
        raise CheckFailed(f"{quoted(one.name)} differs by {error:.3g} times what the order of its sums explains")
    return FoldCheck(one.name, error)


def _whole(part: ModelProto, folder: Path | None) -> ModelProto:
    """The same with weights in it that lie in a file in `folder`."""
    for tensor in part.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL and folder is not None:
            tensor.CopyFrom(loaded(tensor, folder))
    return part


def _positive(part: ModelProto) -> ModelProto:
    """The same with the magnitudes of its weights, which makes of magnitudes what their products come to."""
    made = ModelProto()
    made.CopyFrom(part)
    for tensor in made.graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        if numbers.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(np.abs(numbers), tensor.name))
    return made


def _run(part: ModelProto, one: Folded, values: np.ndarray) -> np.ndarray:
    if values.dtype == np.float64:  # of which onnxruntime has no convolution on a processor
        made: Any = ReferenceEvaluator(part).run([one.output], {one.input: values})
        return np.asarray(made[0])
    session = Session(part, None, threads=1, title=f"{quoted(one.name)} alone", alone=True)
    found: np.ndarray = session.run({one.input: values}, [one.output])[one.output]
    return found.astype(np.float64)
