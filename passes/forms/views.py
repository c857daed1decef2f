"""Operators that only move the axes of a descriptor, or repeat it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tse_onnx.passes.forms.act import Act, Alias, Forms, Lowering, Permute, Regroup, Site, Unfit
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.folding import Size
from tse_onnx.passes.graph.index import attribute, int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, refuse

# Inputs that steer a view: they may depend on the shapes of tensors, even on the descriptor's own.
SHAPE_SLOTS = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}


def _plain(site: Site, axes: str | None) -> Act | Refusal:
    if site.source is None or axes is None:
        return refuse("operator", "does not keep the descriptor's channels on one axis", site.node)
    return Act(site.source.with_axes(axes), Alias())


def _identity(site: Site) -> Act | Refusal:
    return _plain(site, site.source.axes if site.source else None)


def _flatten(site: Site) -> Act | Refusal:
    source = site.source
    if source is None:
        return _plain(site, None)
    axis = int_attribute(site.node, "axis", 1)
    axis += len(source.axes) if axis < 0 else 0
    halves = source.axes[:axis].replace("1", ""), source.axes[axis:].replace("1", "")
    if source.parts and halves == ("N", "K" * len(source.parts)):
        return Act(Descriptor("NC", source.channels, source.batch), Regroup())
    return _plain(site, {("N", "C"): "NC", ("", "C"): "1C"}.get(halves))


def _reshape(site: Site) -> Act | Refusal:
    source = site.source
    if source is None or "*" in source.axes:
        return _plain(site, None)
    target = site.integers(1)
    if target is None and (shape := ints_attribute(site.node, "shape")) is not None:
        targets: list[Sequence[int]] = [shape]
    elif target is not None:
        targets = [target]
    else:
        targets = [found for found in (_pieces(site, source), _by_inference(site)) if found]
    for sizes in targets:
        if (result := source.reshaped(sizes)) is not None:
            return _plain(site, result.axes)
    for sizes in targets:
        if (result := source.regrouped(sizes)) is not None:
            return Act(result, Alias() if result.extents == source.extents else Regroup())
    return _plain(site, None)


def _pieces(site: Site, source: Descriptor) -> list[int] | None:
    """A target that the graph puts together from numbers and the batch, which is written as 0 where it keeps its place
    and as −1 where not."""
    sizes = site.sizes(1)
    if sizes is None or sizes.ndim != 1 or "N" not in source.axes:
        return None
    target = list[int]()
    for place, size in enumerate(sizes):
        if isinstance(size, Size):
            if not site.is_batch(size, source):
                return None
            target.append(0 if source.axes[place : place + 1] == "N" else -1)
        elif isinstance(size, np.integer):
            target.append(int(size))
        else:
            raise Unfit
    return target


def _by_inference(site: Site) -> list[int] | None:
    """The target of a Reshape that is computed in the graph, from what shape inference knows of its result."""
    sizes = site.types[site.node.output[0]].sizes
    if sizes is None:
        return None
    # A dimension that inference does not know can only be the batch, if it is the only one.
    unknown = [size for size in sizes if size is None]
    return [-1 if size is None else size for size in sizes] if len(unknown) <= 1 else None


def _axes(site: Site) -> tuple[int, ...] | None:
    if len(site.node.input) > 1 and site.node.input[1]:
        return site.integers(1)
    return ints_attribute(site.node, "axes")


def _squeeze(site: Site) -> Act | Refusal:
    source, axes = site.source, _axes(site)
    if source is None:
        return _plain(site, None)
    if axes is None:
        if len(site.node.input) > 1 or source.batch is None or source.channels in (None, 1):
            return refuse("operator", "drops axes that depend on the size of the batch", site.node)
        dropped = {
            place for place, axis in enumerate(source.axes) if axis == "1" or (axis == "N" and source.batch == 1)
        }
    else:
        dropped = {axis % len(source.axes) for axis in axes}
    if any(source.axes[place] != "1" and not (source.axes[place] == "N" and source.batch == 1) for place in dropped):
        return _plain(site, None)
    return _plain(site, "".join(axis for place, axis in enumerate(source.axes) if place not in dropped))


def _unsqueeze(site: Site) -> Act | Refusal:
    source, axes = site.source, _axes(site)
    if source is None or axes is None:
        return _plain(site, None)
    rank = len(source.axes) + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(source.axes)
    return _plain(site, "".join("1" if place in added else next(rest, "1") for place in range(rank)))


def _transpose(site: Site) -> Act | Refusal:
    source = site.source
    if source is None:
        return _plain(site, None)
    perm = ints_attribute(site.node, "perm") or tuple(reversed(range(len(source.axes))))
    if sorted(perm) != list(range(len(source.axes))):
        return _plain(site, None)
    axes = "".join(source.axes[axis] for axis in perm)
    if not source.parts:
        return _plain(site, axes)
    order = tuple(source.axes[:axis].count("K") for axis in perm if source.axes[axis] == "K")
    parts = tuple(source.parts[place] for place in order)
    moved: Lowering = Alias() if order == tuple(sorted(order)) else Permute(order)
    return Act(Descriptor(axes, source.channels, source.batch, parts), moved)


def _expand(site: Site) -> Act | Refusal:
    """Repetition over the map. The scale would repeat the gate by itself, so all that matters is what is repeated."""
    source = site.source
    if source is None:
        return _plain(site, None)
    sizes: Sequence[int] | None = site.integers(1)
    if sizes is None:
        known = site.types[site.node.output[0]].sizes
        rank = len(known) if known is not None else _length(site)
        if rank is None:
            return refuse("shape", "expands to a rank that is not known", site.node)
        sizes = [-1 if size is None else size for size in known] if known is not None else [-1] * rank
    return _repeated(site, source, sizes)


def _tile(site: Site) -> Act | Refusal:
    source, repeats = site.source, site.integers(1)
    if source is None or repeats is None:
        return refuse("shape", "repeats the descriptor a number of times that is not known", site.node)
    return _repeated(site, source, repeats, counts=True)


def _resize(site: Site) -> Act | Refusal:
    """A map of one pixel made larger: that pixel again, by whatever is looked at between pixels."""
    source, node = site.source, site.node
    if source is None or source.parts or not site.constants_elsewhere:
        return _plain(site, None)
    mode, asked = (attribute(node, name) for name in ("mode", "coordinate_transformation_mode"))
    policy = attribute(node, "keep_aspect_ratio_policy")
    if mode is not None and mode.s not in (b"nearest", b"linear"):
        return refuse("operator", "weighs pixels beyond the map's edge", node)
    if (asked is not None and asked.s == b"tf_crop_and_resize") or (policy is not None and policy.s != b"stretch"):
        return refuse("operator", "does not repeat the descriptor alone", node)
    grown = _grown(site, source)
    if grown is None:
        return refuse("shape", "is not known to leave the descriptor's batch and channels as they are", node)
    return Act(
        source.with_axes("".join("*" if place in grown else axis for place, axis in enumerate(source.axes))), Alias()
    )


def _grown(site: Site, source: Descriptor) -> set[int] | None:
    """The axes that a Resize or an Upsample changes, if all of them have extent one; None where another may change."""
    node, rank = site.node, len(source.axes)
    old = node.op_type == "Upsample" or len(node.input) == 2
    listed = ints_attribute(node, "axes")
    axes = tuple(range(rank)) if listed is None else tuple(axis % rank for axis in listed)
    scales, sizes = site.numbers(1 if old else 2), None if old else site.sizes(3)
    before, after = site.types[node.input[0]].dims, site.types[node.output[0]].dims
    grown = set()
    for place, axis in enumerate(axes):
        if scales is not None and scales.shape == (len(axes),):
            same = float(scales[place]) == 1
        else:
            known = before is not None and after is not None and len(before) == len(after) == rank
            same = bool(known and before[axis] is not None and before[axis] == after[axis])  # type: ignore[index]
            if sizes is not None and sizes.size == len(axes):
                extent = source.channels if source.axes[axis] == "C" else 1
                same = same or (
                    site.is_batch(sizes[place], source) if source.axes[axis] == "N" else sizes[place] == extent
                )
        if not same and source.axes[axis] in "NC":
            return None
        if not same:
            grown.add(axis)
    return grown


def _pooled_again(site: Site) -> Act | Refusal:
    """A pool of what has one pixel."""
    source = site.source
    return _plain(site, source.axes if source is not None and set(source.axes[2:]) <= {"1"} else None)


def _repeated(site: Site, source: Descriptor, sizes: Sequence[int], counts: bool = False) -> Act | Refusal:
    rank = max(len(sizes), len(source.axes))
    axes, sizes = source.axes.rjust(rank, "1"), [1] * (rank - len(sizes)) + list(sizes)
    result = ""
    extents = iter(source.extents)
    for axis, size in zip(axes, sizes, strict=True):
        extent = next(extents) if axis in "CK" else 1
        if axis in "CK" and size != 1 and (counts or size not in (-1, extent)):
            return refuse("channels", "repeats the descriptor along the channels", site.node)
        if axis == "N" and size != 1 and counts:
            return refuse("operator", "repeats the descriptor along the batch", site.node)
        result += "*" if axis == "1" and size != 1 else axis
    return Act(source.with_axes(result), Alias())


def _length(site: Site) -> int | None:
    sizes = site.types[site.operand(1).name].sizes
    return sizes[0] if sizes is not None and len(sizes) == 1 else None


FORMS = Forms(
    {
        "Identity": _identity,
        "Flatten": _flatten,
        "Reshape": _reshape,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Transpose": _transpose,
        "Expand": _expand,
        "Tile": _tile,
        ("Resize", "Upsample"): _resize,
        ("GlobalAveragePool", "GlobalMaxPool"): _pooled_again,
    }
)
