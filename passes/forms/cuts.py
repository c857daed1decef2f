"""Vectors that are cut into runs, and vectors that are put side by side, as the gates of branches are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tse_onnx.passes.forms import parts
from tse_onnx.passes.forms.act import Act, Cut, Forms, Join, Keep, Site, integers
from tse_onnx.passes.forms.descriptor import Descriptor
from tse_onnx.passes.graph.index import int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, refuse


def _split(site: Site) -> Act | Refusal:
    """Runs of one length."""
    source, node = site.source, site.node
    if source is None or not source.parts:
        made = parts.FORMS.of(node)(site)  # type: ignore[misc]
        if source is None or source.filters > 1 or isinstance(made, Act) or not site.constants_elsewhere:
            return made
    axis = int_attribute(node, "axis", 0) % len(source.axes)
    extent, many = source.extent(axis), sum(bool(name) for name in node.output)
    lengths = ints_attribute(node, "split") or site.integers(1)
    if extent is None or many != len(node.output) or extent % many or lengths not in (None, (extent // many,) * many):
        return refuse("operator", "does not cut the descriptor into runs of one length", node)
    if lengths is None and len(node.input) > 1 and node.input[1]:
        return refuse("operator", "cuts the descriptor into runs whose lengths are computed", node)
    act = _cut(site, source, axis, 0, extent // many, many)
    return act if isinstance(act, Refusal) else replace(act, others=(act.result,) * (many - 1))


def _gather(site: Site) -> Act | Refusal:
    """A single place along an axis, which goes where the index is no list."""
    source, node, index = site.source, site.node, site.numbers(1)
    if source is None or source.filters > 1 or index is None or index.size != 1:
        return refuse("operator", "does not take one place of the descriptor", node)
    axis = int_attribute(node, "axis", 0) % len(source.axes)
    (place,), extent = integers(index), source.extent(axis)
    if extent is None or not -extent <= place < extent:
        return refuse("operator", "does not take one place of the descriptor", node)
    act = _cut(site, source, axis, place % extent, 1, 1)
    if isinstance(act, Refusal) or index.ndim:
        return act
    axes = act.result.axes
    return replace(act, result=act.result.with_axes(axes[:axis] + axes[axis + 1 :]))


def _slice(site: Site) -> Act | Refusal:
    """A run along one axis."""
    source, node = site.source, site.node
    if source is None or not source.parts:
        return parts.FORMS.of(node)(site)  # type: ignore[misc]
    if len(node.input) > 1:
        given = [site.numbers(slot) for slot in (1, 2, 3)]
        bounds = [None if numbers is None else integers(numbers) for numbers in given]
        steps = site.numbers(4)
        plain = len(node.input) < 5 or not node.input[4] or (steps is not None and bool(np.all(steps == 1)))
    else:
        bounds, plain = [ints_attribute(node, name) for name in ("starts", "ends", "axes")], True
    starts, ends, axes = bounds
    if not plain or starts is None or ends is None or len(starts) != 1 or not axes:
        return refuse("operator", "does not take a run along one axis of the descriptor", node)
    axis = axes[0] % len(source.axes)
    extent = source.extent(axis)
    if extent is None:
        return refuse("operator", "does not take a run along one axis of the descriptor", node)
    start, end, _ = slice(starts[0], ends[0]).indices(extent)
    return _cut(site, source, axis, start, end - start, 1)


def _cut(site: Site, source: Descriptor, axis: int, start: int, length: int, many: int) -> Act | Refusal:
    """`many` runs from `start` along the first axis of the vector, each of them a vector along one axis."""
    if source.axes[axis] not in "CK" or set(source.axes[:axis]) & set("CK*") or source.channels is None or length < 1:
        return refuse("operator", "does not cut the descriptor along the first axis of its channels", site.node)
    step = source.channels // (source.extents[0] or 1)
    rest = source.parts[1:]
    if len(rest) + (length > 1) > 1 or (length == 1 and not rest):
        return refuse("operator", "leaves runs that lie along several axes, or along none", site.node)
    letters = source.axes.replace("K", "C")
    axes = letters if length > 1 else letters[:axis] + "1" + letters[axis + 1 :]
    lowering = Cut(start * step, (length * step,) * many, source.channels if source.parts else None)
    return Act(Descriptor(axes, length * step, source.batch), lowering)


def _concat(site: Site) -> Act | Refusal:
    """Vectors of one length behind each other, or side by side along an axis in front of their own, in which there may
    be several already."""
    source, node = site.source, site.node
    held = [operand.descriptor for operand in site.operands]
    if source is None or source.channels is None or source.filters > 1 or "*" in source.axes:
        return refuse("operator", "does not put vectors of known length together", node)
    axis = int_attribute(node, "axis", 0) % len(source.axes)
    if source.axes[axis] == "C" and all(each == source for each in held):
        return Act(Descriptor(source.axes, source.channels * len(held), source.batch), Keep(axis=1))
    length, letters = source.extents[-1] or 0, (source.axes[:axis] + "K" + source.axes[axis + 1 :]).replace("C", "K")
    total, joined = 0, list[int | None]()
    for each in held:
        if each is None or each.axes[:axis] + "K" + each.axes[axis + 1 :].replace("C", "K") != letters:
            return refuse("operator", "puts together what are not vectors of one length", node)
        count = 1 if each.axes[axis] == "1" else each.extents[0] or 0
        if each.extents != ((length,) if each.axes[axis] == "1" else (count, length)) or each.batch != source.batch:
            return refuse("operator", "puts together what are not vectors of one length", node)
        total += count
        joined.append(each.channels if each.parts else None)
    if "N" not in letters[:axis] or "K" in letters[:axis] or letters.count("K") != 2:
        return refuse("operator", "does not put the vectors side by side in front of their channels", node)
    return Act(Descriptor(letters, total * length, source.batch, (total, length)), Join(tuple(joined)))


FORMS = Forms({"Split": _split, "Gather": _gather, "Slice": _slice, "Concat": _concat})
