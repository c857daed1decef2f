"""Tensors in external memory, where a machine has less of its own than a network needs: least bandwidth for the size.

A tensor that is spilled goes out row by row as it is made, and comes back row by row once for each node that reads it.
What stays is the row on its way out, and for each of these nodes the rows that it needs at once: its window, or one
where it absorbs. All other tensors keep their `min`, with which the pipeline completes whatever the spilled ones hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tse_onnx.streaming.depths.cover import cheapest_cover
from tse_onnx.streaming.depths.held import Held
from tse_onnx.streaming.depths.pipeline import Link, Pipeline
from tse_onnx.streaming.depths.result import Buffer, Spill, Spilled
from tse_onnx.streaming.network.network import Network


def spilled(
    network: Network, pipeline: Pipeline, buffers: Sequence[Buffer], memory: int, held: Callable[[int, int], Held]
) -> Spill:
    """What is spilled so that the others fit in `memory` bytes; everything that spilling makes smaller, where nothing
    does. `held` says what a depth of a store comes to."""
    needed = sum(buffer.min.bytes for buffer in buffers)
    choices = []
    for store, buffer in enumerate(buffers[: len(pipeline.stores)]):  # behind them is what waits for the next frame
        nodes = _nodes(network, pipeline, store)
        kept = held(store, 1 + sum(max(_window(pipeline, stage, link) for stage, link in links) for links in nodes))
        if kept.bytes < buffer.min.bytes:
            written = held(store, sum(uses > 0 for uses in pipeline.uses[store]))
            read = held(store, sum(map(_tokens, nodes)))
            choices.append(Spilled(buffer.tensor, buffer.reader, buffer.min, kept, written.bytes, read.bytes))
    worth = [each.before.bytes - each.kept.bytes for each in choices]
    chosen = cheapest_cover(worth, [each.written + each.read for each in choices], max(0, needed - memory))
    tensors = choices if chosen is None else [choices[number] for number in chosen]
    return Spill(memory, needed, needed - sum(each.before.bytes - each.kept.bytes for each in tensors), tuple(tensors))


def _nodes(network: Network, pipeline: Pipeline, store: int) -> list[list[tuple[int, Link]]]:
    """What reads a store, by node: one with several outputs is several stages, and reads once."""
    found: dict[int, list[tuple[int, Link]]] = {}
    for stage, link in pipeline.links[store]:
        found.setdefault(network.stages[pipeline.stages[stage]].position, []).append((stage, link))
    return list(found.values())


def _window(pipeline: Pipeline, stage: int, link: Link) -> int:
    return 1 if pipeline.absorbs[stage] else link.window


def _tokens(links: Sequence[tuple[int, Link]]) -> int:
    """The tokens that a node reads, once for each time that it goes over them."""
    runs = zip(*([need.last_use for need in link.runs or (link.need,)] for _, link in links), strict=True)
    return sum(any(use >= 0 for use in uses) for run in runs for uses in zip(*run, strict=True))
