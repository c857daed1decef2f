"""What a network takes on an array: from a model to cycles."""

from __future__ import annotations

from tse_onnx.costs.arrays import ArrayLike, array_of
from tse_onnx.costs.cycles import Cost, cost_on
from tse_onnx.costs.profile import profile
from tse_onnx.decision.inputs import InputShapes
from tse_onnx.files.source import ModelLike


def cost(
    model: ModelLike, array: ArrayLike, *, input_shapes: InputShapes | None = None, energy: str | None = None
) -> Cost:
    """The cycles of each layer of `model` that multiplies, on an `array`: its name, a TOML file, or an `Array`.

    `energy` names a published table of energies, `horowitz2014` or `eyeriss2016`, and replaces those of the array. The
    model is as `profile` takes it. Biases are not counted. Raises `ModelError` where a size is not known or the
    graph has loops, `UsageError` for a bad option."""
    known = array_of(array) if energy is None else array_of(array).with_energy(energy)
    return cost_on(profile(model, input_shapes=input_shapes), known)
