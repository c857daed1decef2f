"""What is held against time, while images stream in one right behind the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tse_onnx.errors import UsageError
from tse_onnx.streaming.depths.building import pipeline_of
from tse_onnx.streaming.depths.result import KINDS, Dataflow
from tse_onnx.streaming.depths.schedule import occupancy as intervals_of
from tse_onnx.streaming.network.network import Network

MOST_ROWS = 2_000_000
"""Rows of all images together that are counted where somebody says how many images: a few seconds."""


@dataclass(frozen=True)
class Occupancy:
    """`held[kind][t]` are the bytes that tensors of that kind hold while input row t comes, counted on over all images
    of `rows` rows each; `latency` is when the last row of the first image has left the network, in input rows."""

    rows: int
    latency: float
    held: Mapping[str, tuple[int, ...]]

    @property
    def peak(self) -> int:
        """The most bytes at one time."""
        return max(map(sum, zip(*self.held.values(), strict=True)))


def occupancy(network: Network, dataflow: Dataflow, images: int | None = None) -> Occupancy:
    """Time every stage as the `no_stall` figure does, but without latency, for `images` images, or for as many as it
    takes until the first has left and everything holds what it will always hold."""
    # Rows are there as soon as their stage begins them: what is drawn is what waiting costs.
    machine = replace(dataflow.machine, latency=0.0, latencies={})
    pipeline = pipeline_of(network, machine)
    spans = intervals_of(network, machine, pipeline)
    latency = max(end for held in spans for _, end in held)
    images = images or settled(latency, network.height)
    ticks = images * network.height
    held = {kind: np.zeros(ticks + 1) for kind in KINDS}
    for buffer, tokens in zip(dataflow.buffers, spans, strict=False):
        token = buffer.min.bytes / buffer.min.depth
        come, go = np.floor(np.array(tokens).T + 1e-6).astype(np.int64)
        go = np.maximum(go, come + 1)
        change = held[buffer.kind]
        for image in range(images):
            start = image * network.height
            np.add.at(change, np.minimum(come + start, ticks), token)
            np.add.at(change, np.minimum(go + start, ticks), -token)
    for buffer in dataflow.buffers[len(spans) :]:  # from frame to frame
        held[buffer.kind][0] += buffer.min.bytes
    totals = {kind: np.rint(np.cumsum(change[:-1])).astype(np.int64).tolist() for kind, change in held.items()}
    return Occupancy(network.height, latency, {kind: tuple(each) for kind, each in totals.items()})


def settled(latency: float, height: int) -> int:
    """Images until everything holds what it will always hold."""
    return math.ceil(latency / height) + 1


def bounded(images: int, height: int) -> int:
    """A number of images that somebody asked for. Raises `UsageError` where they have more than `MOST_ROWS` rows."""
    if (rows := images * height) > MOST_ROWS:
        raise UsageError(f"{images:,} images have {rows:,} rows, more than the {MOST_ROWS:,} that are counted")
    return images
