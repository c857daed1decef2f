"""Lower a tiled block to ONNX: what takes the place of which node.

The squeeze becomes an AveragePool with the tile as kernel and stride, the excite stays as it is, and the gate is
spread over its tile's rows by a nearest Resize with integer scales, cropped where the last tile is cut short. Resize to
`sizes` would shift the tiles wherever the tile does not divide the map, so it is never used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto, ValueInfoProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from tse_onnx.passes.index import GraphIndex
from tse_onnx.passes.match import Block
from tse_onnx.passes.names import fresh
from tse_onnx.passes.shapes import TensorType, Types, value_info
from tse_onnx.passes.splice import Edit
from tse_onnx.passes.tile import Tile

OLDEST_OPSET = 10


def lower(block: Block, tile: Tile, index: GraphIndex, types: Types, opset: int, taken: set[str]) -> Edit:
    """The edit that tiles `block`; its new names are added to `taken`."""
    assert block.scale is not None
    draft = _Draft(block.name, taken)
    pool = draft.node(
        "AveragePool",
        "tiled_squeeze",
        [block.input],
        block.squeeze.output,
        kernel_shape=[tile.rows, tile.cols],
        strides=[tile.rows, tile.cols],
        pads=[0, 0, -tile.height % tile.rows, -tile.width % tile.cols],
        count_include_pad=0,
    )
    for descriptor in block.descriptors:
        draft.state(descriptor, types.stated(descriptor), tile.grid)
    spread = draft.start()
    gate = _upsample(draft, block.gate, types.stated(block.gate), tile, opset)
    scale = NodeProto()
    scale.CopyFrom(index.nodes[block.scale.position])
    for slot, name in enumerate(scale.input):
        if name == block.gate:
            scale.input[slot] = gate
    return Edit({block.squeeze.position: (pool,), block.scale.position: (*spread, scale)}, draft.types)


def _upsample(draft: _Draft, gate: str, stated: TensorType | None, tile: Tile, opset: int) -> str:
    """Spread each tile's gate over the rows and columns of its tile; an axis with one tile broadcasts by itself."""
    factors = [size if many > 1 else 1 for size, many in zip((tile.rows, tile.cols), tile.grid, strict=True)]
    extents = [many * factor for many, factor in zip(tile.grid, factors, strict=True)]
    scales = draft.constant("upsample_scales", np.array([1, 1, *factors], np.float32))
    if opset == 10:
        spread = draft.value("Resize", "gate_upsample", [gate, scales], mode="nearest")
    else:
        # The region of interest is read by no mode used here, but until opset 13 its slot may not be left out.
        roi = draft.constant("upsample_roi", np.zeros(0, np.float32)) if opset < 13 else ""
        spread = draft.value(
            "Resize",
            "gate_upsample",
            [gate, roi, scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    draft.state(spread, stated, tuple(extents))
    cut = [min(extent, size) for extent, size in zip(extents, (tile.height, tile.width), strict=True)]
    ragged = [axis for axis in (0, 1) if cut[axis] < extents[axis]]
    if not ragged:
        return spread
    starts = draft.constant("crop_starts", np.zeros(len(ragged), np.int64))
    ends = draft.constant("crop_ends", np.array([cut[axis] for axis in ragged], np.int64))
    axes = draft.constant("crop_axes", np.array([axis + 2 for axis in ragged], np.int64))
    crop = draft.value("Slice", "gate_crop", [spread, starts, ends, axes])
    draft.state(crop, stated, tuple(cut))
    return crop


class _Draft:
    """Builds the nodes of one block, under names that begin with the block's."""

    def __init__(self, block: str, taken: set[str]) -> None:
        self._block, self._taken = block, taken
        self._nodes: list[NodeProto] = []
        self.types: dict[str, ValueInfoProto] = {}

    def start(self) -> list[NodeProto]:
        """A list that gathers the nodes made from here on."""
        self._nodes = []
        return self._nodes

    def value(self, op: str, role: str, inputs: list[str], **attributes: Any) -> str:
        """Make a node; the value that it makes."""
        name: str = self.node(op, role, inputs, **attributes).output[0]
        return name

    def node(self, op: str, role: str, inputs: list[str], output: str = "", **attributes: Any) -> NodeProto:
        name = fresh(f"{self._block}/{role}", self._taken)
        result = output or fresh(f"{name}_output", self._taken)
        made = gs.Node(op, name, attributes, [gs.Variable(value) for value in inputs], [gs.Variable(result)])
        proto: NodeProto = OnnxExporter.export_node(made)
        self._nodes.append(proto)
        return proto

    def constant(self, role: str, values: np.ndarray) -> str:
        # A Constant node stands in any graph, function or IR version; an initializer does not.
        name = fresh(f"{self._block}/{role}", self._taken)
        value = onnx.numpy_helper.from_array(values)
        self._nodes.append(onnx.helper.make_node("Constant", [], [name], name=name, value=value))
        return name

    def state(self, value: str, stated: TensorType | None, grid: tuple[int, ...]) -> None:
        """Note the type of a value with one entry per tile, if the model states types here (`stated`)."""
        if stated is not None and stated.dims is not None and len(stated.dims) == 2 + len(grid):
            self.types[value] = value_info(value, TensorType(stated.dtype, (*stated.dims[:2], *grid)))
