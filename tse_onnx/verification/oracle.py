"""The oracle of a tiled block: the original block, run by onnxruntime on each tile of its own input.

It follows from the definition of a tile and shares nothing with the rewrite: no pooling, no resizing, no cropping.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from tse_onnx.passes.index import GraphIndex
from tse_onnx.passes.match import Block
from tse_onnx.passes.shapes import TensorType, value_info
from tse_onnx.passes.tile import Tile
from tse_onnx.verification.result import BlockCheck
from tse_onnx.verification.session import Session

# Relative to the largest value of the block's output: the descriptor is a sum of hundreds of values in another order.
_RELATIVE: dict[int, float] = {
    TensorProto.DOUBLE: 1e-9,
    TensorProto.FLOAT: 2e-5,
    TensorProto.FLOAT16: 1e-2,
    TensorProto.BFLOAT16: 6e-2,
}


def tolerance(dtype: int, reference: np.ndarray) -> float:
    """The absolute error that rounding explains, for an output of this type and magnitude."""
    largest = float(np.max(np.abs(_widened(reference)), initial=0.0))
    return _RELATIVE.get(dtype, 2e-5) * max(largest, 1e-3)


def block_model(model: ModelProto, index: GraphIndex, block: Block) -> ModelProto:
    """A model of `block` alone, made of the original's nodes: from its input to the output of its scale."""
    assert block.scale is not None
    inside = {block.squeeze.position, *block.excite, block.scale.position}
    weights: dict[str, None] = {}
    wanted = [name for position in inside for name in index.nodes[position].input]
    while wanted:
        name = wanted.pop()
        producer = index.producer(name)
        if name in index.initializers:
            weights[name] = None
        elif producer is not None and producer not in inside and name != block.input and index.is_constant(name):
            inside.add(producer)
            wanted.extend(index.nodes[producer].input)
    alone = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = alone.graph
    graph.name = "block"
    graph.node.extend(index.nodes[position] for position in sorted(inside))
    graph.initializer.extend(index.initializers[name] for name in weights)
    graph.input.append(value_info(block.input, TensorType(block.dtype, (None,) * len(block.shape or ()))))
    if model.ir_version < 4:  # where an initializer has to be an input as well
        graph.input.extend(value for value in model.graph.input if value.name in weights)
    graph.output.append(ValueInfoProto(name=block.scale.output))
    return alone


def run_tiles(session: Session, block: Block, tile: Tile, x: np.ndarray) -> np.ndarray:
    """The original block on every tile of `x` ([N, C, H, W]), stitched."""
    assert block.scale is not None
    stitched = np.empty_like(x)
    for top in range(0, tile.height, tile.rows):
        for left in range(0, tile.width, tile.cols):
            crop = np.s_[:, :, top : top + tile.rows, left : left + tile.cols]
            feed = {block.input: np.ascontiguousarray(x[crop])}
            stitched[crop] = session.run(feed, [block.scale.output])[block.scale.output]
    return stitched


def check_block(
    model: ModelProto, index: GraphIndex, block: Block, tile: Tile, x: np.ndarray, y: np.ndarray, folder: Path | None
) -> BlockCheck:
    """Compare `y`, what the converted block made of `x`, with the original block on each tile of `x`."""
    if x.shape[2:] != (tile.height, tile.width):
        return BlockCheck(block.name, float("inf"), 0.0)
    alone = Session(block_model(model, index, block), folder, threads=1, as_written=True)
    reference = run_tiles(alone, block, tile, x)
    error = float(np.max(np.abs(_widened(y) - _widened(reference)), initial=0.0))
    return BlockCheck(block.name, error, tolerance(block.dtype, reference))


def _widened(values: np.ndarray) -> np.ndarray:
    """In a type that differences neither overflow nor round to nothing in; the rounding of a float32 is far below the
    tolerance."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
