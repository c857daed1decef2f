"""What a tiled block makes by definition, computed with the original model alone."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from tests.running import run


def tiled_by_definition(model: ModelProto, x: np.ndarray, rows: int, streamed: int = 2, channel: int = 1) -> np.ndarray:
    """A model of one block behind a Tanh, tiled: each tile times the gate that the original makes of a map with the
    tile's mean in every pixel."""
    spatial = tuple(axis for axis in range(1, x.ndim) if axis != channel)
    h = np.tanh(x.astype(np.float64))
    tiles = []
    for top in range(0, x.shape[streamed], rows):
        tile = np.take(h, range(top, min(top + rows, x.shape[streamed])), streamed)
        even = np.broadcast_to(tile.mean(axis=spatial, keepdims=True), x.shape)
        gate = run(model, np.arctanh(even).astype(x.dtype)) / even
        tiles.append(tile * np.take(gate, range(tile.shape[streamed]), streamed))
    return np.concatenate(tiles, axis=streamed)
