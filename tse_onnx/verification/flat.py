"""A check that takes nothing from the way in which a block was read.

Both models are cut between a block's output and the last value that everything on the way to it comes from, found by
reachability alone. Both parts run as they are, on a map that is constant along the tiled axes and random along the
others. Whatever the block makes of its map, every tile then has the mean of the whole map, so both have to make the
same. A block whose operators were read wrongly, and rewritten accordingly, does not.

Where patches leave no axis to vary along, it cannot tell a mean from a maximum. It says nothing of a frozen gate, which
is meant to be another one, nor of a calibrated squeeze, whose means are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tse_onnx.data.feed import Feed
from tse_onnx.errors import ModelError
from tse_onnx.passes.blocks.block import Anatomy, Convertible
from tse_onnx.passes.blocks.choice import Form
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.blocks.tiling import Cover, Running, Tile
from tse_onnx.passes.forms.squeeze import NORM, SUM_SQUARE
from tse_onnx.passes.graph.index import GraphIndex, captured
from tse_onnx.passes.graph.layout import OWN
from tse_onnx.passes.reasons import quoted
from tse_onnx.runtime.session import Session
from tse_onnx.runtime.shaken import Shaken, rounding_of
from tse_onnx.verification.comparison import Comparison
from tse_onnx.verification.oracle import Original, block_alone, is_quantised, size_probes
from tse_onnx.verification.result import Check, listed

Within = Mapping[str, tuple[int, ...]]
"""The axes of a value along which its elements are shaken together."""


@dataclass(frozen=True)
class FlatCheck:
    """One block on a flat map; `skipped` says why it was not run on any, and is "" where it was."""

    name: str
    max_error: float = 0.0
    tolerance: float = 0.0
    skipped: str = ""


def check_flat(form: Form, original: Original, converted: Original, block: Convertible, values: Feed) -> FlatCheck:
    """Compare both models on a map of the size that `values` has, constant along the axes that `form` tiles."""
    if isinstance(form, Recomputed):
        return FlatCheck(block.name, skipped="compared bit for bit from what is held on")
    if isinstance(form, Carried):
        return _check_fed_back(form, original, converted, block, values)
    if not isinstance(form, Cover):
        return FlatCheck(block.name, skipped=f"{form} is meant to be another one")
    if isinstance(form, Running) and form.calibration is not None:
        return FlatCheck(block.name, skipped="a calibrated squeeze is meant to give other means")
    output, anatomy = block.made, block.anatomy
    if anatomy.squeeze.statistic in (NORM, SUM_SQUARE):
        return FlatCheck(block.name, skipped=f"the {anatomy.squeeze.statistic} of a tile is less than that of its map")
    others = {name: values[name] for name in size_probes(form, block, original.index)} | dict(original.arguments)
    source = common_source(original.index, block.input, output, others)
    axes = {anatomy.squeeze.input: anatomy.input_axes, anatomy.root: anatomy.root_axes}.get(source or "")
    if source is None or axes is None:
        return FlatCheck(block.name, skipped="more than the pooled map leads to the output")
    feed = {source: _flat(values[source], axes, _tiled(anatomy, form)), **others}
    within = {source: tuple(axis for axis, letter in enumerate(axes) if letter not in OWN)}

    def made() -> np.ndarray:
        return _run(converted, feed, output)

    return _compared(original, block, feed, source, within, made)


def _compared(
    original: Original, block: Convertible, feed: Feed, source: str, within: Within, made: Callable[[], np.ndarray]
) -> FlatCheck:
    """What was `made` of a feed, against what the original makes of it."""
    output = block.made
    part = block_alone(original, feed, output)
    try:
        reference = Session(part, original.folder, threads=1, alone=True).run(feed, [output])[output]
    except ModelError:  # it runs on the data, but not on every map: integers may be divided by zero
        return FlatCheck(block.name, skipped="the original does not run on such a map")
    try:
        values = made()
    except ModelError:  # what the original's part does, the converted one has to do as well
        return FlatCheck(block.name, float("inf"))
    compared = Comparison("-" * reference.ndim, reference.dtype, is_quantised(block, original.index))

    def again() -> list[np.ndarray]:
        shaken = Shaken(part, original.folder).runs(feed, [output], within)
        rounded = [reference + rounding_of(feed[source])] if feed[source].dtype.kind == "f" else []
        return [*rounded, *(run[output] for run in shaken)]

    compared.add(values, reference, again)
    return FlatCheck(block.name, compared.error, compared.tolerance)


def _check_fed_back(
    form: Carried, original: Original, converted: Original, block: Convertible, values: Feed
) -> FlatCheck:
    """The block that takes the gates of the frame before, run twice on one map: what the first run hands on is fed
    back. There are no tiles, and the map varies along every axis."""
    output = block.made
    others = {name: values[name] for name in size_probes(form, block, original.index)}
    source = common_source(original.index, block.input, output, others)
    if source is None or source not in values:
        return FlatCheck(block.name, skipped="more than the pooled map leads to the output")
    feed = {source: _flat(values[source], "-" * values[source].ndim, set()), **others}

    def made() -> np.ndarray:
        return _run(converted, {**feed, form.gate_in: _run(converted, feed, form.gate_out)}, output)

    return _compared(original, block, feed, source, {}, made)


def _run(model: Original, feed: Feed, output: str) -> np.ndarray:
    return Session(block_alone(model, feed, output), model.folder, threads=1, alone=True).run(feed, [output])[output]


def common_source(index: GraphIndex, pooled: str, output: str, given: Collection[str] = ()) -> str | None:
    """The last value that every way to `output` passes which does not begin at a constant or at what is `given`, and
    that the `pooled` value is or comes from; None where there is none."""
    waiting, seen = [(_rank(index, output), output)], {output}
    pooled_seen = False
    while waiting:
        rank, name = heapq.heappop(waiting)
        pooled_seen |= name == pooled
        if not waiting and pooled_seen:
            return name
        position = index.producer(name)
        if position is None:
            return None  # an input beside other ways
        node = index.nodes[position]
        for read in (*node.input, *captured(node)):
            if read and read not in seen and read not in given and not index.is_constant(read):
                if _rank(index, read) <= rank:
                    return None  # the nodes are in no order
                seen.add(read)
                heapq.heappush(waiting, (_rank(index, read), read))
    return None


def _rank(index: GraphIndex, name: str) -> int:
    """What is made last comes first."""
    position = index.producer(name)
    return 1 if position is None else -position


def _tiled(anatomy: Anatomy, cover: Cover) -> set[str]:
    """The axes along which the descriptors of a cover differ, or along which its strip is cut."""
    letters = [anatomy.input_axes[axis] for axis in anatomy.squeeze.spatial]
    if isinstance(cover, Tile):
        return {letter for letter, many in zip(letters, cover.grid, strict=True) if many > 1}
    return {letters[cover.axis]}


def _flat(like: np.ndarray, axes: str, tiled: set[str]) -> np.ndarray:
    """A map of the size and about the magnitude of another."""
    random = np.random.default_rng(0)
    some = like[
        tuple(length // 2 if letter in tiled else slice(None) for letter, length in zip(axes, like.shape, strict=True))
    ]
    finite = some[np.isfinite(some)].astype(np.float64)
    whole = np.iinfo(like.dtype) if like.dtype.kind in "iu" else None  # whose zero point is anywhere
    centre = float(finite.mean()) if whole is not None and finite.size else 0.0
    size = float(np.sqrt(np.mean(np.square(finite - centre)))) if finite.size else 0.0
    shape = [1 if letter in tiled else length for letter, length in zip(axes, like.shape, strict=True)]
    channels = [length if letter in OWN else 1 for letter, length in zip(axes, like.shape, strict=True)]
    values = (random.standard_normal(shape) + random.standard_normal(channels)) * (size or 1.0)
    if whole is not None:
        values = np.rint(values + centre).clip(whole.min, whole.max)
    return np.ascontiguousarray(np.broadcast_to(values.astype(like.dtype), like.shape))


def flat_maps(checks: Sequence[FlatCheck]) -> Check:
    """The checks of all blocks as one."""
    failed = [check for check in checks if not check.skipped and not check.max_error <= check.tolerance]
    if failed:
        texts = (
            f"block {quoted(check.name)} differs from the original on a map that is constant along the tiled axes, "
            f"where tiles make no difference: max error {check.max_error:.3g}, tolerance {check.tolerance:.3g}"
            for check in failed
        )
        return Check("flat-maps", False, "; ".join(texts))
    done = sum(not check.skipped for check in checks)
    text = f"{done} of {len(checks)} blocks give on maps that are constant along the tiled axes what the original gives"
    for reason in dict.fromkeys(check.skipped for check in checks if check.skipped):
        text += f"; not for {listed([check.name for check in checks if check.skipped == reason])}: {reason}"
    return Check("flat-maps", True, text)
