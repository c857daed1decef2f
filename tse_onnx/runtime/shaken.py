"""A part of a network once more, from inputs and weights that are changed by as much as rounding does.

What a sum of products is wrong by, in whatever order, is what it would be without any rounding for weights that are
changed a little: so changed weights stand for the rounding inside, and a changed input for that of the means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from tse_onnx.data.feed import Feed
from tse_onnx.files.external import loaded
from tse_onnx.runtime.session import Session

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
DRAWS = 8
"""How often."""
_ROUNDINGS = 2  # that a number has behind it where it comes out of an operator

_STEPS = 8  # that an activation is computed to


def shake(dtype: np.dtype[Any], summed: int = 1) -> float:
    """The relative change of a number of this type that stands for rounding; of a mean, relative to the mean of the
    absolute values that were `summed`. Half precision is summed in single precision."""
    half_a_step = float(np.finfo(dtype).eps) / 2
    return half_a_step * (_ROUNDINGS + (math.sqrt(summed) / 2 if dtype.itemsize >= 4 else 0))


def rounding_of(gate: np.ndarray) -> np.ndarray:
    """What stands for the rounding of a gate that comes out of an activation: onnxruntime computes a sigmoid to so many
    steps of the largest gate, however small this one is."""
    finite = np.abs(gate[np.isfinite(gate)]).max(initial=0)
    return np.asarray(_STEPS * np.finfo(gate.dtype).eps / 2 * finite, gate.dtype)


class Shaken:
    """A `part`, whose external weights lie in `folder`."""

    def __init__(self, part: ModelProto, folder: Path | None) -> None:
        self._part, self._folder = part, folder

    @cached_property
    def _sessions(self) -> tuple[Session, ...]:
        """Every second with changed weights: a power whose exponent changed may be no number at all."""
        random = np.random.default_rng(0)
        as_it_is = Session(self._part, self._folder, threads=1, alone=True)
        return tuple(
            Session(self._with_weights(random), self._folder, threads=1, alone=True) if number % 2 else as_it_is
            for number in range(DRAWS)
        )

    def run(self, number: int, feed: Feed, wanted: Sequence[str]) -> Feed:
        """The values of `wanted` for a feed that the caller has changed."""
        return self._sessions[number].run(feed, wanted)

    def runs(self, feed: Feed, wanted: Sequence[str], within: Mapping[str, tuple[int, ...]]) -> Iterator[Feed]:
        """The values of `wanted`, once for each change. A mean over the axes `within` of a value changes by as much as
        the sum of its absolute values allows."""
        random = np.random.default_rng(1)
        for number in range(DRAWS):
            changed = {
                name: _changed(random, values, within.get(name)) if values.dtype.kind == "f" else values
                for name, values in feed.items()
            }
            yield self.run(number, changed, wanted)

    def _with_weights(self, random: np.random.Generator) -> ModelProto:
        changed = ModelProto()
        changed.CopyFrom(self._part)
        sizes = _sizes(changed)
        tensors = [tensor for tensor in changed.graph.initializer if tensor.name not in sizes]
        for node in changed.graph.node:
            if node.op_type == "Constant" and node.output[0] not in sizes:
                tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
        for tensor in tensors:
            if tensor.data_type in _FLOATS:
                external = tensor.data_location == TensorProto.EXTERNAL
                if external and self._folder is None:
                    continue
                held = loaded(tensor, self._folder) if external and self._folder is not None else tensor
                values = _changed(random, numpy_helper.to_array(held))
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return changed


def _sizes(model: ModelProto) -> set[str]:
    """What says how large a map becomes: changed by rounding, it would become another."""
    resizing = (node for node in model.graph.node if node.op_type in ("Resize", "Upsample"))
    return {name for node in resizing for name in node.input[1:]}


def _changed(random: np.random.Generator, values: np.ndarray, within: tuple[int, ...] | None = None) -> np.ndarray:
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        made = wide * (1 + shake(values.dtype) * signs(random, wide.shape))
        if within:
            size = np.abs(wide).mean(axis=within, keepdims=True)
            made += shake(values.dtype, wide.size // max(size.size, 1)) * size * signs(random, size.shape)
        return np.asarray(made.astype(values.dtype))


def signs(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """1 and -1 by chance."""
    return random.choice((-1.0, 1.0), shape)
