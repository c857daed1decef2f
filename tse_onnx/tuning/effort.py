"""What a choice for a block takes more: multiply-accumulates, and cycles on an array of processing elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tse_onnx.costs.array import Array
from tse_onnx.costs.cycles import cost_on, layer_on
from tse_onnx.costs.layer import Layer, Profile
from tse_onnx.costs.profile import names_of, profile
from tse_onnx.decision.decide import decide_block
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.passes.blocks.block import Convertible
from tse_onnx.passes.blocks.choice import Choice
from tse_onnx.passes.blocks.frozen import Frozen
from tse_onnx.passes.blocks.previous import Previous
from tse_onnx.passes.blocks.recompute import Recomputed
from tse_onnx.tuning.choices import Combination
from tse_onnx.tuning.network import Network


@dataclass(frozen=True)
class Limits:
    """How many multiply-accumulates and how many cycles a selection may take more than the original; None without a
    limit."""

    macs: int | None = None
    cycles: int | None = None

    def __str__(self) -> str:
        said = [
            f"{most:,} {unit}"
            for most, unit in ((self.macs, "multiply-accumulates"), (self.cycles, "cycles"))
            if most is not None
        ]
        return " and ".join(said)


class Cycles:
    """The cycles of a network on an array, and what choices for its blocks add to them.

    The layers of an excite run once for each descriptor, those of a recomputed map twice, and those of a frozen excite
    never: what their sizes make of them is what `profile` counts of a converted model. What is not counted are the
    products of the forms of a mean that multiply by a constant matrix.
    """

    def __init__(self, network: Network, array: Array, input_shapes: InputShapes | None = None) -> None:
        self._network, self.array, self._shapes = network, array, input_shapes
        self._added: dict[tuple[str, Choice | None], int] = {}

    @cached_property
    def _profile(self) -> Profile:
        return profile(self._network.source.model, input_shapes=self._shapes)

    @cached_property
    def _layers(self) -> Mapping[str, Layer]:
        """Each layer that multiplies on its own, by its node."""
        return {
            name: replace(layer, nodes=(name,), macs=layer.macs // layer.repeat)
            for layer in self._profile.layers
            if layer.macs
            for name in layer.nodes
        }

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return names_of(self._network.source.model.graph.node)

    @property
    def before(self) -> int:
        """The cycles of the original."""
        return cost_on(self._profile, self.array).cycles

    def added(self, combination: Combination) -> int:
        """The cycles that these choices add."""
        choices = dict(combination)
        return sum(self.of(block, choices.get(block.name)) for block in self._network.blocks)

    def of(self, block: Convertible, choice: Choice | None) -> int:
        """The cycles that a choice for one block adds; fewer than none where an excite falls away."""
        key = (block.name, choice)
        if key not in self._added:
            self._added[key] = 0 if choice is None else self._of(block, choice)
        return self._added[key]

    def _of(self, block: Convertible, choice: Choice) -> int:
        form = getattr(decide_block(block, choice, self._network.sites[block.name]), "form", None)
        excite = [step.position for step in block.anatomy.steps]
        if isinstance(form, Recomputed):
            return sum(self._cycles(layer, 1) for layer in self._named(block, form.nodes))
        if isinstance(choice, Frozen):
            return -sum(self._cycles(layer, 1) for layer in self._named(block, excite))
        if form is None or isinstance(choice, Previous):
            return 0
        count = self._network.counted(block, choice).descriptors or 1
        return sum(self._cycles(layer, count) - self._cycles(layer, 1) for layer in self._named(block, excite))

    def _named(self, block: Convertible, positions: Iterable[int]) -> Iterable[Layer]:
        """The layers of the nodes at these places, as far as they multiply and stand in the main graph."""
        scope = self._network.sites[block.name].scope
        for position in positions:
            node = scope.index.nodes[position]
            layer = self._layers.get(self._names[node.output[0]]) if scope.is_main else None
            if layer is not None:
                yield layer

    def _cycles(self, layer: Layer, count: int) -> int:
        """The cycles of a layer that runs for so many descriptors at once."""
        if count == 1:
            return layer_on(layer, self.array).cycles
        output = (layer.output[0], count, 1) if layer.kernel else (count, layer.output[-1])
        many = replace(layer, output=output, input=(*layer.input, count), macs=(layer.macs or 0) * count)
        return layer_on(many, self.array).cycles
