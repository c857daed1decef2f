"""A mean that is taken in steps: by one operator after the other that averages or adds up some axes of a map, or scales
by a number.

Each step tells what it makes of the map: which axes are gone, and how many times the mean of these the value is. It is
the mean where all spatial axes are gone, and it is that mean once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from tse_onnx.passes.forms import views
from tse_onnx.passes.forms.act import Act, Operand, Site, Unfit
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.folding import Over, Size, name_of
from tse_onnx.passes.graph.index import (
    GraphIndex,
    attribute,
    int_attribute,
    ints_attribute,
    takes_references,
)
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.passes.graph.types import Types

_LONGEST = 64
# How far a divisor may be from the number of pixels: as far as half precision rounds one over it.
_CLOSE = 1e-3


@dataclass(frozen=True)
class Part:
    """What steps have made of a map so far.

    `axes` has, for each axis of the value, the axis of the map that it runs along, or None where it has extent one;
    `left` the extents of the map's axes that are left (None: not known), `gone` those of which nothing is. The value is
    `times` the mean over what it does not hold any more, and times the sizes in `names` that are not known; `called`
    are the names of the map's.
    """

    axes: tuple[int | None, ...]
    left: tuple[int | None, ...]
    called: tuple[str, ...]
    gone: frozenset[int] = frozenset()
    times: float = 1.0
    names: tuple[str, ...] = ()

    @property
    def is_mean(self) -> bool:
        """Whether the value is that mean itself."""
        return not self.names and bool(np.isclose(self.times, 1.0, rtol=_CLOSE, atol=0))

    def scaled(self, factor: float | Over) -> Part | None:
        """The part times a number, or times one over sizes that are not known: by what it is times, or None."""
        if not isinstance(factor, Over):
            return replace(self, times=self.times * factor)
        names = Counter(self.names)
        if factor.names is None or not factor.times or not Counter(factor.names) <= names:
            return None
        left = tuple(sorted((names - Counter(factor.names)).elements()))
        return replace(self, times=self.times * factor.number / factor.times, names=left)

    def without(self, places: set[int], keeps: bool, added: bool) -> Part | None:
        """The axes in these places averaged, or `added` up; None where several are left of an axis, and how many is not
        known."""
        times, left, names = self.times, list(self.left), list(self.names)
        for place in places:
            axis = self.axes[place]
            if axis is None:
                continue
            extent = left[axis]
            if added and extent is None:
                names.append(self.called[axis])
            elif added and extent is not None:
                times *= extent
            left[axis] = 1
        seen = enumerate(self.axes)
        axes = tuple(None if place in places else axis for place, axis in seen if keeps or place not in places)
        gone = {axis for place in places if (axis := self.axes[place]) is not None}
        return replace(
            self, axes=axes, left=tuple(left), gone=self.gone | gone, times=times, names=tuple(sorted(names))
        )


Step = Callable[[NodeProto, int, Part, GraphIndex], "Part | None"]
"""What a node makes of a part in one of its input slots; None where that is no step."""


@dataclass(frozen=True)
class Stage:
    """The steps of the `nodes` at these positions, which make `output` of the map `source`."""

    nodes: tuple[int, ...]
    source: str
    output: str
    part: Part


def mean_in_steps(position: int, index: GraphIndex, types: Types, spatial: Callable[..., object]) -> Stage | None:
    """The mean that the node at `position` is a step of, from its first step to its last; None where it is of none.

    `spatial` tells whether the axes that are gone (a set, the map's name, its rank, the index) are the spatial ones.
    """
    starts, before = [position], _single_source(position, index)
    if before is None and index.nodes[position].op_type == "GlobalAveragePool":
        return None  # the whole of it in one step, as it is mostly: its own reader takes less time
    if index.nodes[position].op_type == "MatMul" and not any(map(index.is_constant, index.nodes[position].input)):
        return None  # before types are asked for: a product of two computed values is no sum
    while before is not None and len(starts) < _LONGEST:
        starts.insert(0, before)
        before = _single_source(before, index)
    for start in starts:
        for stage in _stages(start, index, types):
            if not spatial(set(stage.part.gone), stage.source, len(stage.part.left), index):
                continue
            whole = _scaled_back(stage, index, types, spatial)
            if whole is not None and position in whole.nodes:
                return whole
            break
    return None


def opens(stage: Stage, index: GraphIndex) -> int:
    """The first of the nodes that does more than scale."""
    return next(place for place in stage.nodes if index.nodes[place].op_type not in _SCALES)


def _single_source(position: int, index: GraphIndex) -> int | None:
    """The position of the node whose result that at `position` alone reads, if it may be a step."""
    node = index.nodes[position]
    makers = (index.producer(name) for name in node.input)
    if STEPS.of(node) is None or all(maker is None or STEPS.of(index.nodes[maker]) is None for maker in makers):
        return None
    moving = [name for name in node.input if name and not index.is_constant(name)]
    before = index.producer(moving[0]) if len(moving) == 1 else None
    if before is None or STEPS.of(index.nodes[before]) is None:
        return None
    return before if _only_use(moving[0], index) is not None else None


def _only_use(value: str, index: GraphIndex) -> tuple[int, int] | None:
    uses = index.uses(value)
    return (uses[0].node, uses[0].slot) if len(uses) == 1 and value not in index.outputs and uses[0].slot >= 0 else None


def _stages(start: int, index: GraphIndex, types: Types) -> Iterator[Stage]:
    """What the node at `start` makes of its map, then what the node behind it makes of that, as long as they go on."""
    node = index.nodes[start]
    slot = next((slot for slot, name in enumerate(node.input) if name and not index.is_constant(name)), None)
    source = node.input[slot] if slot is not None else ""
    sizes = types[source].sizes if source else None
    if sizes is None or not 3 <= len(sizes) <= 5:
        return
    dims = types[source].dims or ()
    called = tuple(name_of(source, axis, None if isinstance(dim, int) else dim) for axis, dim in enumerate(dims))
    part: Part | None = Part(tuple(range(len(sizes))), tuple(sizes), called)
    nodes: tuple[int, ...] = ()
    use: tuple[int, int] | None = (start, slot or 0)
    while use is not None and len(nodes) < _LONGEST:
        node = index.nodes[use[0]]
        step = STEPS.of(node)
        part = step(node, use[1], part, index) if step is not None and part and not takes_references(node) else None
        if part is None:
            return
        nodes = (*nodes, use[0])
        yield Stage(nodes, source, node.output[0], part)
        use = _only_use(node.output[0], index)


def _scaled_back(stage: Stage, index: GraphIndex, types: Types, spatial: Callable[..., object]) -> Stage | None:
    """The stage in which the value is the mean once: behind divisions by a number, and views between them."""
    channel = next(axis for axis in range(1, len(stage.part.left)) if axis not in stage.part.gone)
    letters = {None: "1", 0: "N", channel: "C"}
    held = Descriptor("".join(letters[axis] for axis in stage.part.axes), stage.part.left[channel], stage.part.left[0])
    while not stage.part.is_mean and len(stage.nodes) < _LONGEST:
        use = _only_use(stage.output, index)
        if use is None:
            return None
        node, slot = index.nodes[use[0]], use[1]
        view = views.FORMS.of(node)
        if (factor := _factor(node, slot, len(held.axes), index)) is not None:
            scaled = stage.part.scaled(factor)
            if scaled is None:
                return None
            part = scaled
        elif view is not None and slot == 0 and not takes_references(node):
            dims = [types[name].sizes if name else None for name in node.input]
            operands = tuple(
                Operand(name, held if place == 0 else None, dims[place]) for place, name in enumerate(node.input)
            )
            try:
                act = view(Site(node, operands, 0, index, types, stage.source))
            except Unfit:
                return None
            if not isinstance(act, Act) or "*" in act.result.axes or act.result.parts:
                return None
            held, part = act.result, stage.part
        else:
            return None
        stage = Stage((*stage.nodes, use[0]), stage.source, node.output[0], part)
    places = {"1": None, "N": 0, "C": channel}
    return replace(stage, part=replace(stage.part, axes=tuple(places[letter] for letter in held.axes)))


# The steps.


def _places(node: NodeProto, part: Part, index: GraphIndex) -> set[int] | None:
    axes, rank = reduced_axes(node, index), len(part.axes)
    if axes is None or (axes == () and int_attribute(node, "noop_with_empty_axes", 0)):
        return None
    if any(not -rank <= axis < rank for axis in axes):
        return None
    return {axis % rank for axis in axes or range(rank)}


def _reduces(added: bool) -> Step:
    def step(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
        places = _places(node, part, index) if slot == 0 else None
        return None if places is None else part.without(places, keeps_axes(node), added)

    return step


def _einsum(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
    places = left_out(node)
    if places is None or max(places) >= len(part.axes):
        return None
    return part.without(set(places), False, True)


def _global_pool(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
    return part.without(set(range(2, len(part.axes))), True, False)


def _pool(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
    """An average pool whose windows lie side by side and leave no pixel out."""
    kernel = ints_attribute(node, "kernel_shape") or ()
    if len(part.axes) != 2 + len(kernel) or not plain_pool(node):
        return None
    steps, left, gone, axes = (
        ints_attribute(node, "strides") or (1,) * len(kernel),
        list(part.left),
        set(),
        list(part.axes),
    )
    for place, (size, stride) in enumerate(zip(kernel, steps, strict=True), 2):
        axis = part.axes[place]
        extent = 1 if axis is None else left[axis]
        if extent is None or size < 1 or extent % size or (size != stride and size != extent):
            return None
        if axis is not None:
            left[axis] = extent // size
        if axis is not None and size == extent:
            gone.add(axis)
            axes[place] = None
    return replace(part, axes=tuple(axes), left=tuple(left), gone=part.gone | gone)


def _product(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
    """A matrix product with a row or a column of one number: a sum over the last axis, or over the one before."""
    if len(node.input) != 2 or len(part.axes) < 2:
        return None
    place = len(part.axes) - (1 if slot == 0 else 2)
    axis = part.axes[place]
    extent = 1 if axis is None else part.left[axis]
    found = None if extent is None else index.uniform(node.input[1 - slot], extent)
    if found is None or extent is None:
        return None
    number, dims = found
    if dims not in ((extent,), (extent, 1) if slot == 0 else (1, extent)):
        return None
    summed = part.without({place}, len(dims) == 2, True)
    return None if summed is None else replace(summed, times=summed.times * number)


def _scaled(node: NodeProto, slot: int, part: Part, index: GraphIndex) -> Part | None:
    factor = _factor(node, slot, len(part.axes), index)
    return None if factor is None else part.scaled(factor)


def _factor(node: NodeProto, slot: int, rank: int, index: GraphIndex) -> float | Over | None:
    """The number that a Mul or a Div multiplies a value of this rank with, where it adds no axis: a constant, or one
    over sizes that are not known."""
    if node.op_type not in _SCALES or len(node.input) != 2 or (node.op_type == "Div" and slot != 0):
        return None
    number = index.short_constant(node.input[1 - slot])
    if number is None and index.folding is not None:
        sizes = index.folding.sizes(node.input[1 - slot])
        size = sizes.reshape(-1)[0] if sizes is not None and sizes.size == 1 and sizes.ndim <= rank else None
        if node.op_type == "Div" and isinstance(size, Size) and not isinstance(size, Over):
            return Over(size.names, size.times)
        return size if node.op_type == "Mul" and isinstance(size, Over) else None
    if number is None or number.size != 1 or number.ndim > rank or number.dtype.kind in "iub":
        return None
    value = float(number.reshape(-1)[0])
    if not value or not np.isfinite(value):
        return None
    return value if node.op_type == "Mul" else 1 / value


_SCALES = ("Mul", "Div")
STEPS: Rules[Step] = Rules(
    {
        "ReduceMean": _reduces(added=False),
        "ReduceSum": _reduces(added=True),
        "Einsum": _einsum,
        "GlobalAveragePool": _global_pool,
        "AveragePool": _pool,
        "MatMul": _product,
        _SCALES: _scaled,
    }
)


# What the nodes say of themselves.


def keeps_axes(node: NodeProto) -> bool:
    """Whether a Reduce operator keeps the axes that it reduces, with extent one."""
    return bool(int_attribute(node, "keepdims", 1))


def reduced_axes(node: NodeProto, index: GraphIndex) -> tuple[int, ...] | None:
    """The axes of a Reduce operator, an attribute or an input by opset; () for all; None if computed."""
    if len(node.input) > 1 and node.input[1]:
        values = index.short_constant(node.input[1])
        if values is None or values.dtype.kind not in "iu":
            return None
        return tuple(int(axis) for axis in values.reshape(-1))
    return ints_attribute(node, "axes") or ()


def left_out(node: NodeProto) -> tuple[int, ...] | None:
    """The axes that an Einsum of one operand adds up, where it leaves the others in their order; None where not."""
    equation = attribute(node, "equation")
    before, _, after = (b"" if equation is None else equation.s).replace(b" ", b"").partition(b"->")
    kept = bytes(letter for letter in before if letter in after)
    if len(node.input) != 1 or kept == before or kept != after or len(set(before)) < len(before):
        return None
    return tuple(axis for axis, letter in enumerate(before) if letter not in after)


def plain_pool(node: NodeProto) -> bool:
    """Whether an average pool takes pixels as they lie: without pads, and without gaps between them."""
    kernel = ints_attribute(node, "kernel_shape") or ()
    if any(ints_attribute(node, "pads") or ()) or any(step != 1 for step in ints_attribute(node, "dilations") or ()):
        return False
    padding, steps = attribute(node, "auto_pad"), ints_attribute(node, "strides") or (1,) * len(kernel)
    return padding is None or not padding.s.startswith(b"SAME") or not any(map(int.__lt__, steps, kernel))
