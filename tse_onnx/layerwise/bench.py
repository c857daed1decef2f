"""A network with its quantisers and its tiles, and what they lose on samples."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from tse_onnx.data.samples import Samples
from tse_onnx.decision.analysis import Analysis
from tse_onnx.decision.decision import Convert
from tse_onnx.decision.inputs import fed_inputs
from tse_onnx.decision.preparation import Preparation
from tse_onnx.errors import ModelError, UsageError
from tse_onnx.files.source import Source
from tse_onnx.layerwise.changes import ACTIVATIONS, BOTH, QUANTISED, TILES, WEIGHTS, block_changes, layer_changes
from tse_onnx.layerwise.measure import Change, Key, Loss, Measuring
from tse_onnx.layerwise.quantisers import Layer
from tse_onnx.layerwise.result import BlockNoise, Joint, LayerNoise, Level, Noise, energy_of
from tse_onnx.layerwise.rounding import Rounder, header_of, merged
from tse_onnx.passes.blocks.block import convertible
from tse_onnx.passes.blocks.previous import Carried
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.passes.edit.splice import Edit
from tse_onnx.passes.graph.nested import taken_names
from tse_onnx.passes.lowering import Style, lower
from tse_onnx.passes.settings import setting
from tse_onnx.runtime.cuts import Cuts, Values
from tse_onnx.runtime.scores import Meter
from tse_onnx.timing import phase

_log = logging.getLogger(__name__)

Progress = Callable[[str, float, float], None]
"""Told what is done, how much of it, and of how much."""


class Bench:
    """A float model, its `layers` with their quantisers, and its blocks with the tiles that were decided for them."""

    def __init__(
        self, source: Source, analysis: Analysis, layers: Sequence[Layer], made: Preparation | None, threads: int = 0
    ) -> None:
        self._source, self._analysis, self.layers = source, analysis, layers
        index, taken = analysis.main.index, taken_names(source.model)
        self.cuts = Cuts(source, index, [value.name for value in fed_inputs(source)], threads, floats=True)
        self.rounder = Rounder.of(index, self.cuts.rank, taken)
        self.header = header_of(source.model, layers, source.opset)
        self._blocks = convertible(analysis.parts[0].blocks)
        self._tilings: dict[str, str] = {}
        self._tiles: dict[str, Edit] = {}
        for decision in made.decisions if made is not None else ():
            if isinstance(decision, Convert) and decision.block in self._blocks:
                if isinstance(decision.written, Carried):
                    raise UsageError(
                        f"gates of the frame before are compared by evaluate, with {setting('frames', True)}"
                    )
                block = decision.block
                self._tilings[block.name] = str(decision.choice)
                if isinstance(decision.written, Recomputed):
                    continue  # its map is made twice in the same way, in eight bits as in float: nothing is lost
                self._tiles[block.name] = lower(block, decision.written, analysis.main, taken, Style(folding=False))

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What is measured one at a time."""
        blocks = block_changes(self._blocks, self._tiles, self.layers, self.cuts, self.rounder)
        return (*layer_changes(self.layers, self.cuts, self.rounder), *blocks)

    @cached_property
    def whole(self) -> Mapping[str, Edit]:
        """The ways in which the whole network is changed."""
        rounder, layers = self.rounder, self.layers
        quantised = rounder.edit(layers)
        ways: dict[str, Edit | None] = {
            QUANTISED: quantised,
            WEIGHTS: rounder.edit(layers, activations=False),
            ACTIVATIONS: rounder.edit(layers, weights=False),
        }
        if self._tiles:
            ways[TILES] = merged(*self._tiles.values())
            ways[BOTH] = merged(quantised, *self._tiles.values())
        return {way: edit for way, edit in ways.items() if edit is not None}

    def noise(self, samples: Samples, quantised_by: str, memory: int, told: Progress) -> Noise:
        """What they lose on some samples, the worst first."""
        batches, step = samples.feeds(), self._step(samples.batch, memory)
        names = [value.name for value in self._source.model.graph.output]
        outputs: list[str] = []
        measuring: Measuring | None = None
        meters: dict[str, Meter] = {}
        done = 0
        while starts := [dict(feed) for feed in islice(batches, step)]:
            with phase(_log, f"measuring {len(self.changes)} changes on {len(starts)} batches"):
                original = self.cuts.opened(starts[0], names)
                references = [original.run(start) for start in starts]
                del original
                if measuring is None:
                    outputs = _floats(references[0], self._source.title)
                    measuring = Measuring(self.cuts, self.header, self.changes, outputs)
                    meters = {way: Meter(outputs) for way in self.whole}
                count = sum(map(_rows, starts))
                labels = None if samples.labels is None else samples.labels[done : done + count]
                self._together(meters, outputs, starts, references, labels)
                for number, _ in enumerate(measuring.add(starts, references), 1):
                    told("measuring", done + count * number / len(self.changes), samples.count)
                done += count
        assert measuring is not None
        joint = {way: _joint(meter) for way, meter in meters.items()}
        return Noise(
            model=self._source.title,
            quantised_by=quantised_by,
            data=samples.text,
            samples=samples.count,
            outputs=tuple(outputs),
            layers=self._layer_noise(measuring.losses),
            blocks=self._block_noise(measuring.losses),
            joint=joint[QUANTISED],
            weights=joint[WEIGHTS],
            activations=joint[ACTIVATIONS],
            tiles=joint.get(TILES),
            both=joint.get(BOTH),
        )

    def _together(
        self,
        meters: Mapping[str, Meter],
        outputs: Sequence[str],
        starts: Sequence[Values],
        references: Sequence[Values],
        labels: np.ndarray | None,
    ) -> None:
        """Run the whole network, changed in each way, one after the other."""
        for way, edit in self.whole.items():
            changed = self.cuts.opened(starts[0], outputs, edit, self.header)
            first = 0
            for start, reference in zip(starts, references, strict=True):
                own = None if labels is None else labels[first : first + _rows(start)]
                meters[way].add(reference, changed.run(start), own)
                first += _rows(start)

    def _step(self, batch: int, memory: int) -> int:
        """How many batches are measured together, so that what is held at a cut stays within `memory` bytes; one where
        the sizes of values are not known."""
        types, largest = self._analysis.main.types, 1
        for change in self.changes:
            names = (*self.cuts.before(change.at), *change.made)
            known = [name for name in names if not name.startswith(self.rounder.prefix)]
            sizes = [_bytes(types[name].sizes) for name in known]
            if -1 in sizes:
                return 1
            copies = len(names) - len(known)  # values that others read rounded: each is as large as one of the others
            largest = max(largest, sum(sizes) + copies * max(sizes, default=0))
        return max(1, memory // (2 * largest * batch))

    def _layer_noise(self, losses: Mapping[Key, Loss]) -> tuple[LayerNoise, ...]:
        found = [
            LayerNoise(
                layer.name,
                layer.operator,
                _level(losses[layer.name, QUANTISED]),
                _found(losses, layer.name, WEIGHTS),
                _found(losses, layer.name, ACTIVATIONS),
            )
            for layer in self.layers
        ]
        return tuple(sorted(found, key=lambda one: -one.quantised.noise))

    def _block_noise(self, losses: Mapping[Key, Loss]) -> tuple[BlockNoise, ...]:
        found = []
        for block in self._blocks:
            levels = [_found(losses, block.name, way) for way in (TILES, QUANTISED, BOTH)]
            if any(level is not None for level in levels):
                found.append(BlockNoise(block.name, self._tilings.get(block.name), *levels))
        return tuple(sorted(found, key=lambda one: -max(level.noise for level in one.levels)))


def _floats(values: Values, title: str) -> list[str]:
    found = [name for name, array in values.items() if isinstance(array, np.ndarray) and array.dtype.kind == "f"]
    if not found:
        raise ModelError(f"{title} has no output of real numbers: noise is measured in these")
    return found


def _bytes(sizes: Sequence[int | None] | None) -> int:
    """What one sample of a value takes in single precision; −1 where that is not known."""
    if sizes is None or None in sizes[1:]:
        return -1
    return 4 * math.prod(size or 1 for size in sizes[1:])


def _rows(start: Values) -> int:
    return next((len(array) for array in start.values() if array.ndim), 1)


def _level(loss: Loss) -> Level:
    return Level(tuple(energy.ratio for energy in loss.outputs.values()), loss.local.ratio)


def _found(losses: Mapping[Key, Loss], name: str, way: str) -> Level | None:
    return _level(losses[name, way]) if (name, way) in losses else None


def _joint(meter: Meter) -> Joint:
    scores = meter.result()
    return Joint(Level(tuple(energy_of(score) for score in scores)), scores)
