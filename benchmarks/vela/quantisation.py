"""The numbers of an int8 network: from what a float one computes for images of noise.

Neither memory nor cycles depend on them; they are taken from the network so that what is compiled is a network that
works, which the tests run against onnxruntime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """int8 values q that stand for scale · (q − zero)."""

    scale: float
    zero: int

    def quantise(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """The nearest int8 values."""
        return np.clip(np.round(values / self.scale) + self.zero, -128, 127).astype(np.int8)

    def value(self, quantised: NDArray[np.int8]) -> NDArray[np.float64]:
        """What int8 values stand for."""
        return self.scale * (quantised.astype(np.float64) - self.zero)


def scale_between(low: float, high: float) -> Scale:
    """The scale that has the range, and 0 exactly."""
    low, high = min(low, 0.0), max(high, low + 1e-6, 0.0)
    scale = (high - low) / 255
    return Scale(scale, round(-128 - low / scale))


def images(model: onnx.ModelProto, count: int = 1) -> NDArray[np.float32]:
    """Images of seeded noise, `count` × the shape of the model's one input."""
    shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)


def scales(model: onnx.ModelProto) -> dict[str, Scale]:
    """The scale of every value that the model computes, and of its input."""
    from tse_onnx.runtime.ort import ort

    shown = onnx.ModelProto.FromString(model.SerializeToString())
    del shown.graph.output[:]
    names = [name for node in shown.graph.node for name in node.output]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    name, (image,) = model.graph.input[0].name, images(model)
    computed = zip([name, *names], [image, *session.run(names, {name: image})], strict=True)
    return {name: scale_between(float(values.min()), float(values.max())) for name, values in computed}
