"""What limits are about: numbers of a node, as it is written and as its types say.

A measure gives the numbers along the axes of a node, or one for the node; None stands for one that is not known, and
nothing at all where the measure does not apply to the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Union

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.graph.index import attribute, element_count, int_attribute, ints_attribute, takes_references
from tse_onnx.passes.graph.operators import operator
from tse_onnx.passes.graph.scope import Scope

Number = Union[int, float]
Numbers = Sequence["Number | None"]
Sizes = Sequence["int | None"]

OPERATOR = "operator"
_POOLS = frozenset({"AveragePool", "MaxPool", "LpPool"})
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_RESIZES = frozenset({"Resize", "Upsample"})
_SAME = (b"SAME_UPPER", b"SAME_LOWER")


def is_global(node: NodeProto, scope: Scope) -> bool | None:
    """Whether a node's window is the whole map; None where that is not known."""
    window, extents = _window(node, scope), _spatial(node, scope)
    if operator(node) in _GLOBAL_POOLS:
        return True
    if extents is None or None in window or None in extents:
        return None
    return list(window) == list(extents)


def _operator(node: NodeProto, scope: Scope) -> Numbers:
    return (1,)


def _opset(node: NodeProto, scope: Scope) -> Numbers:
    return (scope.opset,)


def _rank(node: NodeProto, scope: Scope) -> Numbers:
    ranks = [None if sizes is None else len(sizes) for sizes in _tensors(node, scope)]
    known = [rank for rank in ranks if rank is not None]
    return (*([max(known)] if known else []), *([None] if None in ranks else []))


def _least_rank(node: NodeProto, scope: Scope) -> Numbers:
    ranks = [None if sizes is None else len(sizes) for sizes in _tensors(node, scope)]
    return (None,) if None in ranks else (min((rank for rank in ranks if rank is not None), default=0),)


def _batch(node: NodeProto, scope: Scope) -> Numbers:
    sizes = _input(node, scope)
    return (None,) if sizes is None else sizes[:1]


def _dimension(node: NodeProto, scope: Scope) -> Numbers:
    found: list[int | None] = []
    for sizes in _tensors(node, scope):
        found += [None] if sizes is None else sizes[1:]
    return [max(size for size in found if size is not None)] if found and None not in found else found


def _width(node: NodeProto, scope: Scope) -> Numbers:
    sizes = _input(node, scope)
    return (None,) if sizes is None else sizes[2:][-1:]


def _window(node: NodeProto, scope: Scope) -> Numbers:
    name = operator(node)
    if name in _GLOBAL_POOLS:
        return _spatial(node, scope) or (None,)
    if name in _POOLS:
        return ints_attribute(node, "kernel_shape") or ()
    if name in _CONVOLUTIONS:
        stated = ints_attribute(node, "kernel_shape")
        if stated is not None:
            return stated
        weights = scope.types[node.input[1]].sizes if len(node.input) > 1 else None
        return (None,) if weights is None else weights[2:]
    return _reduced(node, scope) if name.startswith("Reduce") else ()


def _reduced(node: NodeProto, scope: Scope) -> Numbers:
    """The extents that a reduction goes over."""
    axes: Sequence[int] | None = ints_attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        constant = scope.index.short_constant(node.input[1])
        if constant is None or constant.dtype.kind not in "iu":
            return (None,)
        axes = [int(axis) for axis in constant.reshape(-1)]
    sizes = _input(node, scope)
    if sizes is None:
        return (None,)
    if not axes:
        return () if int_attribute(node, "noop_with_empty_axes", 0) else sizes
    if not all(-len(sizes) <= axis < len(sizes) for axis in axes):
        return (None,)
    return [sizes[axis] for axis in sorted(axis % len(sizes) for axis in axes)]


def _row_window(node: NodeProto, scope: Scope) -> Numbers:
    return _window(node, scope)[:1]


def _window_area(node: NodeProto, scope: Scope) -> Numbers:
    window = _window(node, scope)
    if not window:
        return ()
    known = [int(size) for size in window if size is not None]
    return (element_count(known) if len(known) == len(window) else None,)


def _stride(node: NodeProto, scope: Scope) -> Numbers:
    """As written, 1 where nothing is."""
    if operator(node) not in _POOLS | _CONVOLUTIONS:
        return ()
    return ints_attribute(node, "strides") or (1,) * len(_window(node, scope))


def _row_step(node: NodeProto, scope: Scope) -> Numbers:
    """Rows from one window to the next; nothing where there is no next one."""
    steps = _stride(node, scope)[:1]
    if not steps or steps == (1,):
        return steps
    made = scope.types[node.output[0]].sizes
    if made is None or len(made) < 3 or made[2] is None:
        return (None,)
    return steps if made[2] > 1 else ()


def _dilation(node: NodeProto, scope: Scope) -> Numbers:
    if operator(node) not in _POOLS | _CONVOLUTIONS:
        return ()
    return ints_attribute(node, "dilations") or (1,) * len(_window(node, scope))


def _ends(node: NodeProto, scope: Scope) -> Sequence[tuple[int | None, int | None]]:
    """What is padded before and behind the map, axis by axis."""
    if operator(node) not in _POOLS | _CONVOLUTIONS:
        return ()
    window = _window(node, scope)
    rank, auto = len(window), attribute(node, "auto_pad")
    if auto is not None and auto.s in _SAME:
        padded = [_same(node, scope, axis) for axis in range(rank)]
        ends = [(None, None) if pad is None else (pad // 2, pad - pad // 2) for pad in padded]
        return ends if auto.s == b"SAME_UPPER" else [(behind, before) for before, behind in ends]
    stated = ints_attribute(node, "pads") if auto is None or auto.s != b"VALID" else None
    pads = stated or (0,) * (2 * rank)
    return list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=False))


def _same(node: NodeProto, scope: Scope, axis: int) -> int | None:
    """What `auto_pad` adds along an axis, so that there is a window for every stride."""
    extents = _spatial(node, scope)
    if extents is None or axis >= len(extents) or extents[axis] is None:
        return None
    reach, stride = _reach(node, scope, axis), _at(_stride(node, scope), axis)
    if reach is None or not stride:
        return None
    extent, step = int(extents[axis] or 0), int(stride)
    return max((-(-extent // step) - 1) * step + reach - extent, 0)


def _reach(node: NodeProto, scope: Scope, axis: int) -> int | None:
    """The rows from a window's first to its last."""
    size, dilation = _at(_window(node, scope), axis), _at(_dilation(node, scope), axis)
    return None if size is None or dilation is None else (int(size) - 1) * int(dilation) + 1


def _pads(node: NodeProto, scope: Scope) -> Numbers:
    return [pad for ends in _ends(node, scope) for pad in ends]


def _uneven_pads(node: NodeProto, scope: Scope) -> Numbers:
    return [None if before is None or behind is None else abs(before - behind) for before, behind in _ends(node, scope)]


def _counts(node: NodeProto) -> bool:
    return bool(int_attribute(node, "count_include_pad", 0))


def _counted_pads(node: NodeProto, scope: Scope) -> Numbers:
    return _pads(node, scope) if operator(node) == "AveragePool" and _counts(node) else ()


def _uneven_counted_pads(node: NodeProto, scope: Scope) -> Numbers:
    return _uneven_pads(node, scope) if operator(node) == "AveragePool" and _counts(node) else ()


def _uncounted_pads(node: NodeProto, scope: Scope) -> Numbers:
    return _pads(node, scope) if operator(node) == "AveragePool" and not _counts(node) else ()


def _overhang(node: NodeProto, scope: Scope) -> Numbers:
    """How far the last window reaches beyond the map and its pads."""
    if operator(node) not in _POOLS or not int_attribute(node, "ceil_mode", 0):
        return ()
    ends, extents = _ends(node, scope), _spatial(node, scope)
    found: list[int | None] = []
    for axis, (before, behind) in enumerate(ends):
        extent = extents[axis] if extents is not None and axis < len(extents) else None
        reach, stride = _reach(node, scope, axis), _at(_stride(node, scope), axis)
        if extent is None or before is None or behind is None or reach is None or not stride:
            found.append(None)
        else:
            found.append(_beyond(extent, before, behind, reach, int(stride)))
    return found


def _beyond(extent: int, before: int, behind: int, reach: int, stride: int) -> int:
    padded = before + extent + behind
    last = -(-(padded - reach) // stride) * stride
    if last >= before + extent:  # a window that starts behind the map is left out
        last -= stride
    return max(last + reach - padded, 0)


def _scale(node: NodeProto, scope: Scope) -> Numbers:
    """How many times as large a Resize makes its map, axis by axis; nothing for a map of one pixel."""
    if operator(node) not in _RESIZES:
        return ()
    extents = _spatial(node, scope)
    if extents is not None and all(extent == 1 for extent in extents):
        return ()
    made = scope.types[node.output[0]].sizes
    if extents is not None and made is not None and None not in extents and None not in made[2:]:
        return [
            wide // extent if wide % extent == 0 else wide / extent
            for wide, extent in zip(made[2:], extents, strict=False)
            if wide is not None and extent
        ]
    stated = attribute(node, "scales")
    scales = np.array(stated.floats) if stated is not None else _stated_scales(node, scope)
    if scales is None or scales.dtype.kind != "f" or extents is None or None in extents:
        return (None,)
    return [
        None if not np.isfinite(scale) else int(scale) if scale == int(scale) else float(scale)
        for scale in scales.reshape(-1)[2:]
    ]


def _stated_scales(node: NodeProto, scope: Scope) -> np.ndarray | None:
    slot = 2 if operator(node) == "Resize" and scope.opset >= 11 else 1
    if len(node.input) <= slot or not node.input[slot]:
        return None
    return scope.index.short_constant(node.input[slot])


def _defaults(node: NodeProto, scope: Scope) -> Numbers:
    """How many of what it reads are inputs of the model that have a default; until IR version 4 these are constants."""
    index = scope.index
    return (sum(name in index.inputs and name in index.initializers for name in node.input),) if scope.ir > 3 else ()


def _constant(node: NodeProto, scope: Scope) -> Numbers:
    return (int(bool(node.input) and scope.index.is_constant(node.input[0])),)


def _constant_nodes(node: NodeProto, scope: Scope) -> Numbers:
    made = (scope.index.producer(name) for name in node.input)
    return (sum(place is not None and scope.index.nodes[place].op_type == "Constant" for place in made),)


def _at(numbers: Numbers, axis: int) -> Number | None:
    return numbers[axis] if axis < len(numbers) else None


def _input(node: NodeProto, scope: Scope) -> Sizes | None:
    return scope.types[node.input[0]].sizes if node.input and node.input[0] else None


def _spatial(node: NodeProto, scope: Scope) -> Sizes | None:
    sizes = _input(node, scope)
    return None if sizes is None else sizes[2:]


def _tensors(node: NodeProto, scope: Scope) -> list[Sizes | None]:
    """The sizes of what a node works on and of what it makes."""
    return [scope.types[name].sizes for name in (*node.input[:1], *node.output) if name]


Measure = Callable[[NodeProto, Scope], Numbers]
MEASURES: Mapping[str, Measure] = {
    OPERATOR: _operator,
    "opset": _opset,
    "rank": _rank,
    "least_rank": _least_rank,
    "batch": _batch,
    "dimension": _dimension,
    "width": _width,
    "window": _window,
    "row_window": _row_window,
    "window_area": _window_area,
    "stride": _stride,
    "row_step": _row_step,
    "dilation": _dilation,
    "pads": _pads,
    "uneven_pads": _uneven_pads,
    "counted_pads": _counted_pads,
    "uneven_counted_pads": _uneven_counted_pads,
    "uncounted_pads": _uncounted_pads,
    "overhang": _overhang,
    "scale": _scale,
    "defaults": _defaults,
    "constant": _constant,
    "constant_nodes": _constant_nodes,
}
"""What a limit may be about; docs/targets.md says what each stands for."""

# These look at a node's operands and their types alone, the others at its attributes as well.
_OF_TYPES = frozenset(
    {OPERATOR, "opset", "rank", "least_rank", "batch", "dimension", "width", "defaults", "constant", "constant_nodes"}
)


def measured(measure: str, node: NodeProto, scope: Scope) -> Numbers:
    """The numbers of a measure in a node: None for one that is not known, none at all where it does not apply."""
    name = operator(node)
    if measure not in _OF_TYPES and takes_references(node):  # in a function, whose call says what they are
        return (None,) if name in _POOLS | _CONVOLUTIONS | _RESIZES or name.startswith("Reduce") else ()
    return MEASURES[measure](node, scope)
