"""Lower a tiled block to ONNX: what takes the place of which node.

The squeeze becomes an AveragePool with the tile as kernel and stride. The descriptors of all tiles lie as [N, C, tiles,
1], so the excite must work on that: most nodes stay as they are, those that only move axes go, linear layers become 1×1
convolutions with the same weights. The gate is spread over its tile by a nearest Resize with integer scales, cropped
where the last tile is cut short. Resize to `sizes` would shift the tiles wherever the tile does not divide the map, so
it is never used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto, TensorProto, ValueInfoProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from tse_onnx.passes.block import Anatomy, Block, Step
from tse_onnx.passes.forms.act import AcrossChannels, Alias, ChannelsLast, Keep, PointConvolution
from tse_onnx.passes.index import element_count, int_attribute
from tse_onnx.passes.layout import SPATIAL
from tse_onnx.passes.names import fresh
from tse_onnx.passes.prune import prune
from tse_onnx.passes.scope import Scope
from tse_onnx.passes.shapes import Dim, TensorType, value_info
from tse_onnx.passes.splice import Edit, Relaid
from tse_onnx.passes.tile import Tile

OLDEST_OPSET = 9


def lower(block: Block, tile: Tile, scope: Scope, taken: set[str]) -> Edit:
    """The edit that tiles `block`, which stands in `scope`. New names are added to `taken`, the names in use."""
    assert block.anatomy is not None
    assert block.scale is not None
    work = _Lowering(block.name, block.anatomy, tile, scope, taken)
    work.squeeze()
    for step in block.anatomy.steps:
        work.excite(step)
    work.scale(block.scale.position)
    return prune(work.edit(), scope.index)


class _Lowering:
    """The edit of one block while it is being written. Values on the way are called as before, and hold one descriptor
    per tile; `_now` says which value a former one has become."""

    def __init__(self, name: str, anatomy: Anatomy, tile: Tile, scope: Scope, taken: set[str]) -> None:
        self._name, self._anatomy, self._tile, self._taken = name, anatomy, tile, taken
        self._index, self._types, self._opset = scope.index, scope.types, scope.opset
        self._nodes: dict[int, tuple[NodeProto, ...]] = {}
        self._value_types: dict[str, ValueInfoProto | None] = {}
        self._weights: dict[str, Relaid] = {}
        self._now: dict[str, str] = {}
        self._made: list[NodeProto] = []
        self._spatial = len(tile.extents)

    def edit(self) -> Edit:
        return Edit(self._nodes, self._value_types, self._weights)

    # The three parts of a block.

    def squeeze(self) -> None:
        """The mean of each tile, as [N, C, tiles, 1], under the name that the global mean had."""
        found, tile = self._anatomy.squeeze, self._tile
        for position in found.nodes[:-1]:
            self._nodes[position] = ()
            self._gone(self._index.nodes[position].output[0])
        source, extents, sizes = found.input, tile.extents, tile.sizes
        if self._anatomy.input_axes[1] != "C":
            # Channels last: the mean over whole rows first, so that only one column has to change its layout.
            rows = self._row_means(
                source, [axis for axis, many in zip(found.spatial, tile.grid, strict=True) if many == 1]
            )
            source = self._transposed(rows, self._anatomy.input_axes, "NC" + SPATIAL[: self._spatial])
            extents = tuple(extent if many > 1 else 1 for extent, many in zip(extents, tile.grid, strict=True))
            sizes = tuple(min(size, extent) for size, extent in zip(sizes, extents, strict=True))
        self._node(
            "AveragePool",
            "tiled_squeeze",
            [source],
            found.output,
            kernel_shape=list(sizes),
            strides=list(sizes),
            pads=[0] * self._spatial + [-extent % size for extent, size in zip(extents, sizes, strict=True)],
            count_include_pad=0,
        )
        self._state(found.output, found.output, tile.grid)
        self._flush(found.nodes[-1])

    def excite(self, step: Step) -> None:
        """One node on the way, for as many descriptors as there are tiles."""
        node, lowering = self._index.nodes[step.position], step.act.lowering
        if isinstance(lowering, Alias):
            self._now[node.output[0]] = self._value(node.input[0])
            self._nodes[step.position] = ()
            self._gone(node.output[0])
            return
        if isinstance(lowering, PointConvolution):
            made = self._point_convolution(node, lowering)
        elif isinstance(lowering, AcrossChannels):
            made = self._across_channels(node, lowering)
        elif isinstance(lowering, ChannelsLast):
            made = self._channels_last(node, lowering)
        else:
            made = self._kept(node, lowering)
        if made is not None:
            self._made.append(made)
            self._flush(step.position)
        self._state(node.output[0], node.output[0], self._tile.grid)

    def scale(self, position: int) -> None:
        """Spread the gates over their tiles, in the layout of the map that they scale."""
        anatomy, node = self._anatomy, self._index.nodes[position]
        gate = self._upsampled(self._value(anatomy.gate))
        gate = self._quantised_again(gate)
        gate = self._transposed(gate, "NC" + SPATIAL[: self._spatial], anatomy.map_axes, "gate_layout")
        self._made.append(self._with_inputs(node, {anatomy.gate: gate}))
        self._flush(position)

    # How a node on the way is lowered.

    def _kept(self, node: NodeProto, lowering: Keep) -> NodeProto | None:
        """The node itself; None where not a byte of it changes."""
        inputs = {name: self._value(name) for name in node.input}
        if not self._canonical(node):
            for slot in lowering.per_channel:
                inputs[node.input[slot]] = self._relaid(node.input[slot], (-1,) + (1,) * self._spatial)
        kept = self._with_inputs(node, inputs)
        if lowering.axis is not None and int_attribute(node, "axis", -1) != lowering.axis:
            self._set_axis(kept, lowering.axis)
        return None if kept == node else kept

    def _point_convolution(self, node: NodeProto, lowering: PointConvolution) -> NodeProto | None:
        weights = node.input[lowering.weight]
        dims = self._types[weights].sizes or ()
        inputs = {name: self._value(name) for name in node.input}
        if node.op_type == "Conv" and len(dims) == 2 + self._spatial:
            kept = self._with_inputs(node, inputs)
            return None if kept == node else kept
        order = lowering.order if node.op_type != "Conv" else "OI"
        rows = [self._value(node.input[lowering.data])]
        rows.append(self._relaid(weights, (*dims[:2],) + (1,) * self._spatial, transposed=order == "IO"))
        after = ""
        if lowering.bias is not None:
            bias = node.input[lowering.bias]
            if (
                element_count(dim or 0 for dim in self._types[bias].sizes or ()) == 1
                and dims[0 if order == "OI" else 1] != 1
            ):
                after = bias  # one number for all channels
            else:
                rows.append(self._relaid(bias, (-1,)))
        made = self._proto("Conv", "excite_conv", rows, node.output[0], node.name)
        if node.op_type == "Conv" and int_attribute(node, "group", 1) != 1:
            made.attribute.append(onnx.helper.make_attribute("group", int_attribute(node, "group", 1)))
        if after:
            del made.output[:]
            made.output.append(fresh(f"{self._name}/excite_sum", self._taken))
            self._made.append(made)
            return self._proto("Add", "excite_bias", [made.output[0], after], node.output[0])
        return made

    def _across_channels(self, node: NodeProto, lowering: AcrossChannels) -> NodeProto:
        """[N, C, tiles, 1] to [N, 1, C, tiles · 1], where the window slides along the channels, and back."""
        value = self._value(node.input[0])
        rank = 2 + self._spatial
        apart = self._channels_apart(value)
        weights = self._relaid(node.input[1], (1, 1, lowering.kernel, 1))
        inputs = [apart, weights, *(name for name in node.input[2:3] if name)]
        pads = [lowering.pads[0], 0, lowering.pads[1], 0]
        slid = self._made_value("Conv", "excite_conv", inputs, kernel_shape=[lowering.kernel, 1], pads=pads)
        back = self._made_value("Transpose", "channels_back", [slid], perm=[0, 2, 1, 3])
        target = self._constant("tiles_shape", np.array([0, 0, *self._tile.grid], np.int64))
        assert rank >= 3
        return self._proto("Reshape", "tiles", [back, target], node.output[0])

    def _channels_apart(self, value: str) -> str:
        """[N, C, tiles …] as [N, 1, C, tiles]."""
        target = self._constant("channels_shape", np.array([0, 0, 1, element_count(self._tile.grid)], np.int64))
        flat = self._made_value("Reshape", "tiles_flat", [value, target])
        return self._made_value("Transpose", "channels_apart", [flat], perm=[0, 2, 1, 3])

    def _channels_last(self, node: NodeProto, lowering: ChannelsLast) -> NodeProto:
        rank = 2 + self._spatial
        last = self._made_value(
            "Transpose", "channels_last", [self._value(node.input[0])], perm=[0, *range(2, rank), 1]
        )
        inputs = {node.input[0]: last}
        for slot in lowering.flat:
            if node.input[slot]:
                inputs[node.input[slot]] = self._relaid(node.input[slot], (-1,))
        middle = self._with_inputs(node, inputs)
        middle.output[0] = fresh(f"{self._name}/{node.op_type.lower()}_last", self._taken)
        self._set_axis(middle, rank - 1)
        self._made.append(middle)
        back = self._proto("Transpose", "channels_back", [middle.output[0]], node.output[0])
        back.attribute.append(onnx.helper.make_attribute("perm", [0, rank - 1, *range(1, rank - 1)]))
        return back

    # Squeeze and gate in other layouts.

    def _row_means(self, source: str, axes: list[int]) -> str:
        if not axes:
            return source
        if self._opset >= 18:
            listed = self._constant("row_axes", np.array(axes, np.int64))
            return self._made_value("ReduceMean", "row_means", [source, listed], keepdims=1)
        return self._made_value("ReduceMean", "row_means", [source], axes=axes, keepdims=1)

    def _transposed(self, value: str, axes: str, wanted: str, role: str = "squeeze_layout") -> str:
        if axes == wanted:
            return value
        return self._made_value("Transpose", role, [value], perm=[axes.index(letter) for letter in wanted])

    def _upsampled(self, gate: str) -> str:
        """Each tile's gate on every row and column of its tile; an axis with one tile broadcasts by itself."""
        tile, opset = self._tile, self._opset
        factors = [size if many > 1 else 1 for size, many in zip(tile.sizes, tile.grid, strict=True)]
        reach = tuple(many * factor for many, factor in zip(tile.grid, factors, strict=True))
        scales = self._constant("upsample_scales", np.array([1, 1, *factors], np.float32))
        if opset == 9:
            spread = self._made_value("Upsample", "gate_upsample", [gate, scales], mode="nearest")
        elif opset == 10:
            spread = self._made_value("Resize", "gate_upsample", [gate, scales], mode="nearest")
        else:
            # The region of interest is read by no mode used here, but until opset 13 its slot may not be left out.
            roi = self._constant("upsample_roi", np.zeros(0, np.float32)) if opset < 13 else ""
            spread = self._made_value(
                "Resize",
                "gate_upsample",
                [gate, roi, scales],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        self._state(spread, self._anatomy.gate, reach)
        cut = tuple(min(one, extent) for one, extent in zip(reach, tile.extents, strict=True))
        ragged = [axis for axis in range(self._spatial) if cut[axis] < reach[axis]]
        if not ragged:
            return spread
        crop = self._cropped(spread, [axis + 2 for axis in ragged], [cut[axis] for axis in ragged])
        self._state(crop, self._anatomy.gate, cut)
        return crop

    def _cropped(self, value: str, axes: list[int], ends: list[int]) -> str:
        starts = [0] * len(axes)
        if self._opset < 10:
            return self._made_value("Slice", "gate_crop", [value], axes=axes, starts=starts, ends=ends)
        listed = [
            self._constant(f"crop_{role}", np.array(numbers, np.int64))
            for role, numbers in (("starts", starts), ("ends", ends), ("axes", axes))
        ]
        return self._made_value("Slice", "gate_crop", [value, *listed])

    def _quantised_again(self, gate: str) -> str:
        """Behind a DequantizeLinear, the spread gate goes through the same quantiser once more.

        Spreading copies values, so it changes none of them; but a compiler that works on Q/DQ pairs takes an operator
        as quantised only if it stands between two.
        """
        producer = self._index.producer(self._anatomy.gate)
        node = self._index.nodes[producer] if producer is not None else None
        if node is None or node.op_type != "DequantizeLinear":
            return gate
        parameters = list(node.input[1:])
        quantised = self._made_value("QuantizeLinear", "gate_quantize", [gate, *parameters])
        return self._made_value("DequantizeLinear", "gate_dequantize", [quantised, *parameters])

    # Values, names, constants.

    def _value(self, name: str) -> str:
        return self._now.get(name, name)

    def _canonical(self, node: NodeProto) -> bool:
        """Whether the descriptors that the node reads lie as [N, C, 1 …], like the tiles will."""
        wanted = "NC" + "1" * self._spatial
        held = {self._anatomy.squeeze.output: self._anatomy.squeeze.descriptor.axes}
        held |= {self._index.nodes[step.position].output[0]: step.act.result.axes for step in self._anatomy.steps}
        return all(held[name] == wanted for name in node.input if name in held)

    def _relaid(self, name: str, dims: tuple[int | None, ...], transposed: bool = False) -> str:
        """A constant under other dimensions (−1: all that is left).

        An initializer that nothing else reads is laid anew where it is; anything else goes through nodes, which a
        runtime folds, so that no weights are copied.
        """
        known = self._types[name].sizes or ()
        count = element_count(dim or 0 for dim in known)
        wanted = tuple(
            count // element_count(dim or 1 for dim in dims if dim != -1) if dim == -1 else dim or 0 for dim in dims
        )
        if transposed:
            wanted = (wanted[1], wanted[0], *wanted[2:])
        if not transposed and known == wanted:
            return name
        tensor = self._index.initializers.get(name)
        alone = tensor is not None and len(self._index.uses(name)) == 1 and name not in self._index.outputs
        loaded = tensor is not None and tensor.data_location != TensorProto.EXTERNAL
        if alone and name not in self._index.inputs and (loaded or not transposed) and name not in self._weights:
            self._weights[name] = Relaid(wanted, transposed)
            return name
        if transposed:
            matrix = list(range(len(known)))
            matrix[0], matrix[1] = 1, 0
            name = self._made_value("Transpose", "weight_transposed", [name], perm=matrix)
        if tuple(known[axis] for axis in ((1, 0) if transposed else ())) == wanted:
            return name
        return self._made_value("Reshape", "weight", [name, self._constant("weight_shape", np.array(wanted, np.int64))])

    @staticmethod
    def _set_axis(node: NodeProto, axis: int) -> None:
        for attribute in node.attribute:
            if attribute.name == "axis":
                attribute.i = axis
                return
        node.attribute.append(onnx.helper.make_attribute("axis", axis))

    @staticmethod
    def _with_inputs(node: NodeProto, inputs: dict[str, str]) -> NodeProto:
        changed = NodeProto()
        changed.CopyFrom(node)
        for slot, name in enumerate(changed.input):
            changed.input[slot] = inputs.get(name, name)
        return changed

    def _flush(self, position: int) -> None:
        self._nodes[position] = tuple(self._made)
        self._made = []

    def _made_value(self, op: str, role: str, inputs: list[str], **attributes: Any) -> str:
        """Make a node; the value that it makes."""
        return str(self._node(op, role, inputs, **attributes).output[0])

    def _node(self, op: str, role: str, inputs: list[str], output: str = "", **attributes: Any) -> NodeProto:
        proto = self._proto(op, role, inputs, output, **attributes)
        self._made.append(proto)
        return proto

    def _proto(
        self, op: str, role: str, inputs: list[str], output: str = "", name: str = "", **attributes: Any
    ) -> NodeProto:
        name = name or fresh(f"{self._name}/{role}", self._taken)
        result = output or fresh(f"{name}_output", self._taken)
        made = gs.Node(op, name, attributes, [gs.Variable(value) for value in inputs], [gs.Variable(result)])
        proto: NodeProto = OnnxExporter.export_node(made)
        return proto

    def _constant(self, role: str, values: np.ndarray) -> str:
        # A Constant node stands in any graph, function or IR version; an initializer does not.
        name = fresh(f"{self._name}/{role}", self._taken)
        value = onnx.numpy_helper.from_array(values)
        self._made.append(onnx.helper.make_node("Constant", [], [name], name=name, value=value))
        return name

    def _state(self, value: str, like: str, grid: tuple[int, ...]) -> None:
        """Note the type of a value with one entry per tile, if the model states the type of the value `like`."""
        stated = self._types.stated(like)
        if stated is None or stated.dims is None:
            return
        step = next((step.act.result for step in self._anatomy.steps if self._output(step) == like), None)
        held = step or self._anatomy.squeeze.descriptor
        batch = held.axes.find("N")
        first: Dim = stated.dims[batch] if 0 <= batch < len(stated.dims) else held.batch
        self._value_types[value] = value_info(value, TensorType(stated.dtype, (first, held.channels, *grid)))

    def _output(self, step: Step) -> str:
        return str(self._index.nodes[step.position].output[0])

    def _gone(self, value: str) -> None:
        if self._types.stated(value) is not None:
            self._value_types[value] = None
