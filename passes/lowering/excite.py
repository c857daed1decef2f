"""The nodes between squeeze and gate, for as many descriptors as there are tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import NodeProto

from tse_onnx.passes.blocks.block import Step
from tse_onnx.passes.forms.act import (
    AcrossChannels,
    Alias,
    ChannelsLast,
    Cut,
    Join,
    Keep,
    OverChannels,
    Permute,
    PointConvolution,
    Regroup,
    Sliced,
)
from tse_onnx.passes.forms.mixers import FUSED_ACTIVATIONS
from tse_onnx.passes.forms.stepwise import reduced_axes
from tse_onnx.passes.graph.index import attribute, element_count, int_attribute, ints_attribute
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.lowering.draft import Draft
from tse_onnx.passes.names import fresh

Grid = Sequence["int | None"]

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "QLinearConv"})
# A convolution's attributes with an entry for each spatial axis; with a kernel of one pixel none of them says anything.
_BY_AXIS = frozenset({"kernel_shape", "pads", "strides", "dilations", "auto_pad"})


def excite(draft: Draft, step: Step, grid: Grid) -> None:
    """Lower one node on the way; the edit leaves it out where not a byte of it changes."""
    node, lowering = draft.index.nodes[step.position], step.act.lowering
    if isinstance(lowering, Alias):
        draft.now[node.output[0]] = draft.current(node.input[0])
        draft.drop(step.position)
        _retyped(draft, node.output[0])
        return
    if isinstance(lowering, PointConvolution):
        made = _point_convolution(draft, node, lowering, grid)
    elif isinstance(lowering, AcrossChannels):
        made = _across_channels(draft, node, lowering, grid)
    elif isinstance(lowering, ChannelsLast):
        made = _channels_last(draft, node, lowering, len(step.act.result.extents) + len(grid))
    elif isinstance(lowering, Sliced):
        made = _sliced(draft, node, lowering)
    elif isinstance(lowering, OverChannels):
        made = _over_channels(draft, node)
    elif isinstance(lowering, Regroup):
        made = _regrouped(draft, node, step.act.result.extents, grid)
    elif isinstance(lowering, Cut):
        made = _cut(draft, node, lowering, grid)
    elif isinstance(lowering, Join):
        made = _side_by_side(draft, node, lowering, step.act.result.extents, grid)
    elif isinstance(lowering, Permute):
        made = _permuted(draft, node, lowering, len(grid))
    else:
        made = _kept(draft, node, lowering, len(grid))
    if made is not None:
        draft.add(made)
        draft.put(step.position)
    for name in node.output[1:]:
        draft.state(name, name, grid)
    if step.act.result.filters > 1:
        draft.unstated(node.output[0])  # it lies as [N, filters, C, tiles]
    else:
        draft.state(node.output[0], node.output[0], grid)


def _kept(draft: Draft, node: NodeProto, lowering: Keep, spatial: int) -> NodeProto | None:
    inputs = {name: draft.current(name) for name in node.input}
    if not _canonical(draft, node, spatial):
        for slot in lowering.per_channel:
            inputs[node.input[slot]] = draft.relaid(node.input[slot], (-1,) + (1,) * spatial)
    turned = lowering.axis is not None and int_attribute(node, "axis", -1) != lowering.axis
    if not turned and not _differ(inputs):
        return None
    kept = _with_inputs(node, inputs)
    if turned and lowering.axis is not None:
        _set_axis(kept, lowering.axis)
    return kept


def _point_convolution(draft: Draft, node: NodeProto, lowering: PointConvolution, grid: Grid) -> NodeProto | None:
    spatial = len(grid)
    weights = node.input[lowering.weight]
    dims = draft.types[weights].sizes or ()
    if lowering.tap:
        return _tapped(draft, node, lowering, spatial)
    if node.op_type in _CONVOLUTIONS and len(dims) == 2 + spatial:
        renamed = {name: draft.current(name) for name in node.input}
        return _with_inputs(node, renamed) if _differ(renamed) else None
    if node.op_type in ("FusedConv", "QLinearConv"):
        return _of_other_rank(draft, node, lowering, spatial)
    if node.op_type == "QGemm":
        return _in_whole_numbers(draft, node, lowering, spatial)
    if draft.double and node.op_type != "Conv":
        return _product(draft, node, lowering, grid)
    outputs = dims[0 if lowering.order == "OI" else 1]
    inputs = [draft.current(node.input[lowering.data])]
    inputs.append(draft.relaid(weights, (*dims[:2],) + (1,) * spatial, transposed=lowering.order == "IO"))
    single = ""
    if lowering.bias is not None:
        bias = node.input[lowering.bias]
        if element_count(dim or 0 for dim in draft.types[bias].sizes or ()) == 1 and outputs != 1:
            single = bias  # one number for all channels, which a convolution cannot add
        else:
            inputs.append(draft.relaid(bias, (-1,)))
    fused = attribute(node, "activation") if node.op_type == "FusedGemm" else None
    output = "" if single or fused is not None else node.output[0]
    made = draft.node("Conv", "excite_conv", inputs, output, node.name)
    group = int_attribute(node, "group", 1)
    if node.op_type == "Conv" and group != 1:
        made.attribute.append(onnx.helper.make_attribute("group", group))
    if single:
        draft.add(made)
        made = draft.node("Add", "excite_bias", [made.output[0], single], "" if fused is not None else node.output[0])
    if fused is not None:
        draft.add(made)
        made = _activation(draft, node, fused.s.decode(), made.output[0])
    return made


def _tapped(draft: Draft, node: NodeProto, lowering: PointConvolution, spatial: int) -> NodeProto:
    """A 1×1 convolution with the one place of a larger kernel that meets the descriptor."""
    weights, taps = node.input[lowering.weight], lowering.tap
    axes = [2 + axis for axis in range(len(taps))]
    weights = draft.sliced("weight_tap", weights, axes, taps, [place + 1 for place in taps])
    if len(taps) != spatial:
        shape = draft.integers("weight_shape", [0, 0, *(1,) * spatial])
        weights = draft.value("Reshape", "weight", [weights, shape])
    made = _with_inputs(node, {node.input[0]: draft.current(node.input[0]), node.input[lowering.weight]: weights})
    del made.attribute[:]
    made.attribute.extend(found for found in node.attribute if found.name not in _BY_AXIS)
    return made


def _sliced(draft: Draft, node: NodeProto, lowering: Sliced) -> NodeProto:
    """Some of the channels, which lie on the second axis."""
    value = draft.current(node.input[0])
    if draft.opset < 10:
        span: dict[str, Any] = {"starts": [lowering.start], "ends": [lowering.end], "axes": [1]}
        return draft.node("Slice", "excite_slice", [value], node.output[0], node.name, **span)
    listed = [
        draft.integers(f"excite_slice_{what}", [number])
        for what, number in (("starts", lowering.start), ("ends", lowering.end), ("axes", 1))
    ]
    return draft.node("Slice", "excite_slice", [value, *listed], node.output[0], node.name)


def _over_channels(draft: Draft, node: NodeProto) -> NodeProto | None:
    """The reduction over the axis that the channels of the tiles lie on."""
    axes = reduced_axes(node, draft.index)
    changed = _with_inputs(node, {node.input[0]: draft.current(node.input[0])})
    if axes != (1,):
        if ints_attribute(node, "axes") is not None:
            kept = [found for found in node.attribute if found.name != "axes"]
            del changed.attribute[:]
            changed.attribute.extend((*kept, onnx.helper.make_attribute("axes", [1])))
        else:
            changed.input[1] = draft.integers("channel_axis", [1])
    return None if changed == node else changed


def _of_other_rank(draft: Draft, node: NodeProto, lowering: PointConvolution, spatial: int) -> NodeProto:
    """A 1×1 convolution that is fused or quantised, for as many spatial axes as the tiles lie along."""
    name = node.input[lowering.weight]
    dims = draft.types[name].sizes or ()
    weights = draft.relaid(name, (*dims[:2],) + (1,) * spatial)
    changed = _with_inputs(node, {node.input[0]: draft.current(node.input[0]), name: weights})
    del changed.attribute[:]
    changed.attribute.extend(found for found in node.attribute if found.name not in _BY_AXIS)
    return changed


def _in_whole_numbers(draft: Draft, node: NodeProto, lowering: PointConvolution, spatial: int) -> NodeProto:
    """A linear layer in whole numbers, as the convolution that rounds alike."""
    data, scale, zero, name, weight_scale, weight_zero, bias, made_scale, made_zero = node.input
    dims = draft.types[name].sizes or ()
    weights = draft.relaid(name, (*dims[:2],) + (1,) * spatial, transposed=lowering.order == "IO")
    inputs = [draft.current(data), scale, zero, weights, weight_scale, weight_zero, made_scale, made_zero]
    if bias:
        inputs.append(draft.relaid(bias, (-1,)))
    return draft.node("QLinearConv", "excite_conv", inputs, node.output[0], node.name)


def _activation(draft: Draft, node: NodeProto, name: str, value: str) -> NodeProto:
    """The activation that a fused operator applied, as a node of its own."""
    wanted = {key: attribute(node, f"activation_{key}") for key in FUSED_ACTIVATIONS[name]}
    given: dict[str, Any] = {key: found.f for key, found in wanted.items() if found is not None}
    return draft.node(name, "excite_activation", [value], node.output[0], **given)


def _product(draft: Draft, node: NodeProto, lowering: PointConvolution, grid: Grid) -> NodeProto:
    """In double precision, for which onnxruntime has no convolution: weights times [N, C, all tiles]."""
    weights = node.input[lowering.weight]
    if lowering.order == "IO":
        weights = draft.value("Transpose", "weight_transposed", [weights], perm=[1, 0])
    flat = draft.integers("tiles_flat_shape", [0, 0, -1])
    value = draft.value("Reshape", "tiles_flat", [draft.current(node.input[lowering.data]), flat])
    value = draft.value("MatMul", "excite_product", [weights, value])
    if lowering.bias is not None:
        bias = node.input[lowering.bias]
        if element_count(dim or 0 for dim in draft.types[bias].sizes or ()) != 1:
            bias = draft.relaid(bias, (-1, 1))
        value = draft.value("Add", "excite_bias", [value, bias])
    shape = draft.integers("tiles_shape", [0, 0, *(-1 if many is None else many for many in grid)])
    return draft.node("Reshape", "tiles", [value, shape], node.output[0])


def _across_channels(draft: Draft, node: NodeProto, lowering: AcrossChannels, grid: Grid) -> NodeProto:
    """[N, C, tiles …] to [N, 1, C, tiles], where the window slides along the channels, and back. Between windows that
    make several numbers of each channel it stays [N, filters, C, tiles]."""
    apart = draft.current(node.input[0])
    if lowering.inputs == 1:
        flat_shape = draft.integers("tiles_flat_shape", [0, 0, 1, -1])
        flat = draft.value("Reshape", "tiles_flat", [apart, flat_shape])
        apart = draft.value("Transpose", "channels_apart", [flat], perm=[0, 2, 1, 3])
    weights = draft.relaid(node.input[1], (lowering.outputs, lowering.inputs, lowering.kernel, 1))
    inputs = [apart, weights, *(name for name in node.input[2:3] if name)]
    given: dict[str, Any] = {"kernel_shape": [lowering.kernel, 1], "pads": [lowering.pads[0], 0, lowering.pads[1], 0]}
    if lowering.dilation != 1:
        given["dilations"] = [lowering.dilation, 1]
    if lowering.outputs > 1:
        return draft.node("Conv", "excite_conv", inputs, node.output[0], **given)
    slid = draft.value("Conv", "excite_conv", inputs, **given)
    back = draft.value("Transpose", "channels_back", [slid], perm=[0, 2, 1, 3])
    shape = draft.integers("tiles_shape", [0, 0, *(-1 if many is None else many for many in grid)])
    return draft.node("Reshape", "tiles", [back, shape], node.output[0])


def _regrouped(draft: Draft, node: NodeProto, extents: Sequence[int | None], grid: Grid) -> NodeProto:
    """[N, …, tiles, 1] with the vector along other axes, whatever the size of the batch."""
    sizes = [-1 if size is None else size for size in (*extents, *grid)]
    shape = draft.integers("tiles_shape", [0, *sizes])
    return draft.node("Reshape", "tiles", [draft.current(node.input[0]), shape], node.output[0], node.name)


def _cut(draft: Draft, node: NodeProto, lowering: Cut, grid: Grid) -> NodeProto:
    """Runs of the vector [N, C, tiles, 1]."""
    value = _joined(draft, node.input[0], lowering.joined, grid)
    if len(lowering.lengths) > 1:
        made = draft.split("parts", value, 1, lowering.lengths)
        made.output[:] = node.output
    else:
        end = lowering.start + lowering.lengths[0]
        made = draft.slice("part", value, [1], [lowering.start], [end])
        made.output[0] = node.output[0]
    return made


def _joined(draft: Draft, value: str, length: int | None, grid: Grid) -> str:
    """A vector [N, length, tiles, 1] that lies along several axes, if it has a `length`."""
    if length is None:
        return draft.current(value)
    sizes = [-1 if size is None else size for size in grid]
    shape = draft.integers("tiles_shape", [0, length, *sizes])
    return draft.value("Reshape", "tiles", [draft.current(value), shape])


def _side_by_side(
    draft: Draft, node: NodeProto, lowering: Join, extents: Sequence[int | None], grid: Grid
) -> NodeProto:
    """Vectors [N, C, tiles, 1] behind each other, and apart again."""
    pairs = zip(node.input, lowering.joined, strict=True)
    value = draft.value("Concat", "parts", [_joined(draft, name, length, grid) for name, length in pairs], axis=1)
    shape = draft.integers("tiles_shape", [0, *(-1 if size is None else size for size in (*extents, *grid))])
    return draft.node("Reshape", "tiles", [value, shape], node.output[0])


def _permuted(draft: Draft, node: NodeProto, lowering: Permute, spatial: int) -> NodeProto:
    many = len(lowering.order)
    perm = [0, *(1 + place for place in lowering.order), *range(1 + many, 1 + many + spatial)]
    inputs = [draft.current(node.input[0])]
    return draft.node("Transpose", "parts", inputs, node.output[0], node.name, perm=perm)


def _channels_last(draft: Draft, node: NodeProto, lowering: ChannelsLast, others: int) -> NodeProto:
    rank, place = 1 + others, lowering.place
    perm = [axis for axis in range(rank) if axis != place] + [place]
    last = draft.value("Transpose", "channels_last", [draft.current(node.input[0])], perm=perm)
    inputs = {node.input[0]: last}
    for slot in lowering.flat:
        if node.input[slot]:
            inputs[node.input[slot]] = draft.relaid(node.input[slot], (-1,))
    middle = _with_inputs(node, inputs)
    middle.output[0] = fresh(f"{draft.name}/{node.op_type.lower()}_last", draft.taken)
    if lowering.axis:
        _set_axis(middle, rank - 1)
    draft.add(middle)
    back = [perm.index(axis) for axis in range(rank)]
    return draft.node("Transpose", "channels_back", [middle.output[0]], node.output[0], perm=back)


def _canonical(draft: Draft, node: NodeProto, spatial: int) -> bool:
    """Whether the descriptors that the node reads lie as [N, C, 1 …], like those of the tiles do."""
    anatomy, wanted = draft.anatomy, "NC" + "1" * spatial
    held = {squeeze.output: squeeze.descriptor.axes for squeeze in anatomy.squeezes}
    for step in anatomy.steps:
        made = draft.index.nodes[step.position].output
        held |= {name: result.axes for name, result in zip(made, step.act.results, strict=False)}
    return all(held[name] == wanted for name in node.input if name in held)


def _set_axis(node: NodeProto, axis: int) -> None:
    found = attribute(node, "axis")
    if found is not None:
        found.i = axis
        return
    node.attribute.append(onnx.helper.make_attribute("axis", axis))


def _retyped(draft: Draft, gone: str) -> None:
    """Let what is cast to the type of a value that goes be cast to that of what it has become."""
    for use in draft.index.uses(gone):
        node = draft.index.nodes[use.node]
        if use.slot == 1 and operator(node) == "CastLike":
            draft.add(_with_inputs(node, {gone: draft.current(gone)}))
            draft.put(use.node)


def _differ(renamed: Mapping[str, str]) -> bool:
    """Whether any name is another one now."""
    return any(name != now for name, now in renamed.items())


def _with_inputs(node: NodeProto, inputs: Mapping[str, str]) -> NodeProto:
    changed = NodeProto()
    changed.CopyFrom(node)
    for slot, name in enumerate(changed.input):
        changed.input[slot] = inputs.get(name, name)
    return changed
