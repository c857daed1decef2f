"""The check of blocks that were undone by name.

It shares nothing with the way back but the names of a block's map and of its output: on a map that is constant along
the spatial axes every tile's mean is the global mean, so the tiled block and the restored one have to give the same.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from tse_onnx.errors import TseError
from tse_onnx.passes.blocks.block import KINDS, convertible
from tse_onnx.passes.blocks.tiling import Tiling
from tse_onnx.passes.edit.excerpt import excerpt
from tse_onnx.passes.edit.record import Record
from tse_onnx.passes.edit.restore_by_name import Undone, refusal
from tse_onnx.passes.graph.checker import complaint
from tse_onnx.passes.graph.scope import Scope, scopes
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import first_line
from tse_onnx.passes.search.match import find
from tse_onnx.runtime.evaluate import evaluate
from tse_onnx.runtime.session import Session

Place = tuple[ModelProto, Scope]

_TOLERANCE = 1e-4  # of the largest value
_COARSE = 2e-2  # in half precision
_UNKNOWN = 8  # as good a size as any where a map's is not known
_LARGEST = 2**26  # elements of a map that both blocks are run on


def check_undone(given: ModelProto, undone: Undone, folder: Path | None) -> None:
    """Raise `ModelError` unless the model is as valid as `given` and each block computes what it did, with one mean.

    `folder` is where weights lie that are in files of their own.
    """
    records = undone.records
    if complaint(given) is None and (text := complaint(undone.model)) is not None:
        raise refusal(records[0], f"put back, it makes the model invalid ({text})")
    pairs = list(zip(scopes(given, {}, evaluate), scopes(undone.model, {}, evaluate), strict=True))
    for record in records:
        before, after = next(pair for pair in pairs if pair[0].index.producer(record.story.scale) is not None
                             or pair[1].index.producer(record.story.scale) is not None)  # fmt: skip
        if not _found(record, after) and not _same(record, (given, before), (undone.model, after), folder):
            raise refusal(record, "what was put back is not the block that was tiled, as far as can be told")


def _found(record: Record, after: Scope) -> bool:
    """Whether the search, which knows nothing of records, takes what was put back for a block on the same values."""
    return any(
        block.input == record.story.input and block.scale.output == record.story.scale
        for block in convertible(find(after, frozenset(KINDS)))
    )


def _same(
    record: Record, given: tuple[ModelProto, Scope], undone: tuple[ModelProto, Scope], folder: Path | None
) -> bool:
    """Whether both blocks give the same on a map that is constant along its spatial axes."""
    name, scale = record.story.input, record.story.scale
    if not isinstance(record.choice, Tiling) or record.choice.calibration is not None:
        return False  # other than a mean of the map
    kind = given[1].types[name]
    sizes = kind.sizes or record.story.sizes
    if not sizes or kind.dtype not in (
        TensorProto.UNDEFINED,
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
    ):
        return False
    dtype = kind.dtype or TensorProto.FLOAT
    shape = tuple(size if isinstance(size, int) else _UNKNOWN if axis else 1 for axis, size in enumerate(sizes))
    if math.prod(shape) > _LARGEST:
        return False
    along = [1 if axis in record.story.spatial else size for axis, size in enumerate(shape)]
    values = np.random.default_rng(0).standard_normal(along).astype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    feed = {name: np.ascontiguousarray(np.broadcast_to(values, shape))}
    outputs = []
    for model, scope in (given, undone):
        part = excerpt(scope.index, feed, [scale])
        if part.missing:
            return False
        alone = part.model(model, {name: TensorType(dtype, (None,) * len(shape))}, [scale])
        try:
            outputs.append(Session(alone, folder, threads=1, way_out="").run(feed, [scale])[scale].astype(np.float64))
        except TseError as error:
            raise refusal(record, f"put back, it does not run ({first_line(error)})") from error
    largest = max(float(np.max(np.abs(outputs[0]), initial=0.0)), 1e-3)
    return bool(
        outputs[0].shape == outputs[1].shape
        and np.max(np.abs(outputs[0] - outputs[1]), initial=0.0)
        <= (_COARSE if dtype == TensorProto.FLOAT16 else _TOLERANCE) * largest
    )
