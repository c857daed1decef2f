"""The original and the changed network in torch, side by side on the same views."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor

from tse_onnx.data.samples import Samples
from tse_onnx.distillation.interpreter import Interpreter
from tse_onnx.distillation.knobs import Knob, Tensors
from tse_onnx.distillation.objective import PLAIN, Objective, Weighing
from tse_onnx.distillation.operators.tensors import tensor_of
from tse_onnx.distillation.place import PROCESSOR, Place
from tse_onnx.distillation.weights import Weights
from tse_onnx.errors import ModelError
from tse_onnx.files.external import check_locations, external_tensors
from tse_onnx.passes.reasons import quoted
from tse_onnx.tuning.batches import Batches
from tse_onnx.tuning.network import Network

_SAME = 1e-3
"""How far torch may be from onnxruntime, relative to the largest output: both round, in other orders."""


class Pair:
    """Both networks, what is trained in the one, and how far it is from the other.

    `names` are the initializers that are trained, which move by `share` of what the knobs do; those that are `spare` as
    far as the converted model has them. `chunk` is how many
    samples go into a run where the model fixes it, and torch does not take more.
    """

    def __init__(
        self,
        network: Network,
        changed: ModelProto,
        knobs: Sequence[Knob],
        names: Sequence[str],
        chunk: int | None,
        share: float = 1.0,
        place: Place = PROCESSOR,
        spare: Collection[str] = (),
    ) -> None:
        self.knobs, self.place, self._chunk = tuple(knobs), place, chunk
        self._outputs, self._layers = network.outputs, _layers(network, changed)
        source = network.source
        folder = source.path.parent if source.path is not None else None
        seen = [*self._layers, *(knob.value for knob in knobs)]
        self._original = Interpreter(_loaded(source.model, folder), seen, source.title, place.device)
        self._changed = Interpreter(_loaded(changed, folder), self._layers, "the converted model", place.device)
        self.weights = Weights.of(names, self._original.constants, self._changed.constants, share, spare)

    def objective(self, feed: Tensors, weighing: Weighing = PLAIN) -> Objective:
        """What to make small, for networks that do to all batches what they do to this one."""
        return Objective.of(self.original(feed), self._layers, self._outputs, weighing, self.place.mean)

    def need_same(self, network: Network, samples: Samples) -> None:
        """Raise `ModelError` unless torch computes what onnxruntime does: else the wrong network would be trained."""
        (first,) = Batches(samples).read([0])
        expected = network.original(first.feed)
        place, self.place = self.place, replace(self.place, autocast=None)
        found = self.original({name: tensor_of(array) for name, array in network.start(first.feed).items()})
        self.place = place
        for name, array in expected.items():
            if array.dtype.kind != "f":
                continue
            apart = float(np.max(np.abs(found[name].cpu().numpy() - array), initial=0.0))
            if not apart <= _SAME * float(np.max(np.abs(array), initial=0.0)):
                raise ModelError(
                    f"torch and onnxruntime disagree on {quoted(name)} by {apart:.2g}: it cannot be trained"
                )

    def original(self, feed: Tensors) -> Tensors:
        """What the original makes of a batch: outputs, layers, and the means of the blocks that are trained."""
        with torch.no_grad():
            return self._in_chunks(feed, self._original)

    def changed(self, feed: Tensors, state: Mapping[str, Tensor]) -> Tensors:
        """What the changed network makes of it: outputs and layers."""
        then = {knob.value: knob.turned(state) for knob in self.knobs}
        weights = self.weights.laid(state)
        return self._in_chunks(feed, lambda part: self._changed(part, weights, then))

    def widen(self, feed: Tensors) -> None:
        """Run whole batches from now on, if torch makes the same of `feed` as in the model's own batches."""
        if self._chunk is None:
            return
        narrow, self._chunk, chunk = self.original(feed), None, self._chunk
        try:
            wide = self.original(feed)
        except ModelError:
            self._chunk = chunk
            return
        if not all(_alike(narrow[name], wide[name]) for name in self._outputs):
            self._chunk = chunk

    def _in_chunks(self, feed: Tensors, run: Callable[[Tensors], Tensors]) -> Tensors:
        if self.place.device.type != "cpu":
            feed = {name: one.to(self.place.device) for name, one in feed.items()}
        with self.place.computing():
            made = self._by_chunks(feed, run)
        if self.place.autocast is None:
            return made
        return {name: one.float() if one.is_floating_point() else one for name, one in made.items()}

    def _by_chunks(self, feed: Tensors, run: Callable[[Tensors], Tensors]) -> Tensors:
        if self._chunk is None:
            return run(feed)
        count = len(next(iter(feed.values())))
        starts = range(0, count - count % self._chunk, self._chunk)
        parts = [run({name: one[start : start + self._chunk] for name, one in feed.items()}) for start in starts]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _alike(one: Tensor, other: Tensor) -> bool:
    close = one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()))
    return bool(close)


def _layers(network: Network, changed: ModelProto) -> list[str]:
    """What the blocks make, as far as it is in both networks: a frozen gate may have gone into a convolution."""
    made = {name for node in changed.graph.node for name in node.output}
    return [name for block in network.blocks if (name := network.scaled(block.name)) in made]


def _loaded(model: ModelProto, folder: Path | None) -> ModelProto:
    """The model with its weights in it."""
    if not any(True for _ in external_tensors(model)):
        return model
    check_locations(model, folder)
    whole = ModelProto()
    whole.CopyFrom(model)
    onnx.external_data_helper.load_external_data_for_model(whole, str(folder))
    return whole
