"""Operators that take some of a descriptor's channels: a scale and an offset out of one layer, say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tse_onnx.passes.forms.act import Act, Forms, Keep, Site, Sliced
from tse_onnx.passes.graph.index import int_attribute, ints_attribute
from tse_onnx.passes.reasons import Refusal, refuse


def _split(site: Site) -> Act | Refusal:
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere or source.filters > 1:
        return refuse("operator", "does not split the descriptor's channels", node)
    axis = int_attribute(node, "axis", 0) % len(source.axes)
    if source.axes[axis] != "C":
        return refuse("operator", "does not split the descriptor's channels", node)
    counts = []
    for name in node.output:
        sizes = site.types[name].sizes if name else None
        if sizes is None or len(sizes) != len(source.axes) or sizes[axis] is None:
            return refuse("shape", "splits the descriptor into parts of a size that is not known", node)
        counts.append(replace(source, channels=sizes[axis]))
    return Act(counts[0], Keep(axis=1), others=tuple(counts[1:]))


def _slice(site: Site) -> Act | Refusal:
    """Channels side by side, all of them there."""
    source, node = site.source, site.node
    if source is None or not site.constants_elsewhere or source.filters > 1 or source.channels is None:
        return refuse("operator", "does not take a part of the descriptor's channels", node)
    starts, ends, axes, steps = (
        site.numbers(slot) if len(node.input) > 1 else _listed(site, name)
        for slot, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None or any(given is not None and given.size != 1 for given in (starts, ends, axes)):
        return refuse("operator", "takes a part of the descriptor along several axes, or an unknown one", node)
    place = (0 if axes is None else int(axes.flat[0])) % len(source.axes)
    if source.axes[place] != "C" or (steps is not None and (steps != 1).any()):
        return refuse("operator", "does not take channels of the descriptor that lie side by side", node)
    kept = range(source.channels)[int(starts.flat[0]) : int(ends.flat[0])]
    if not kept:
        return refuse("operator", "takes none of the descriptor's channels", node)
    return Act(replace(source, channels=len(kept)), Sliced(kept.start, kept.stop))


def _listed(site: Site, name: str) -> np.ndarray | None:
    found = ints_attribute(site.node, name)
    return None if found is None else np.array(found, np.int64)


FORMS = Forms({"Split": _split, "Slice": _slice})
