"""Seeded noise, where the user gives no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tse_onnx.data.element import element_type
from tse_onnx.data.feed import Feed
from tse_onnx.data.given import Given
from tse_onnx.data.preprocess import Preprocess
from tse_onnx.data.samples import Samples, samples_of
from tse_onnx.errors import DataError
from tse_onnx.passes.graph.types import TensorType
from tse_onnx.passes.reasons import quoted


@dataclass(frozen=True)
class _Noise:
    types: Mapping[str, TensorType]
    seed: int

    def feed(self, chosen: Sequence[int]) -> Feed:
        random = np.random.default_rng(self.seed)
        return {name: _drawn(random, name, kind) for name, kind in self.types.items()}

    def identity(self, chosen: Sequence[int]) -> Iterable[bytes]:
        yield repr((sorted(self.types.items()), self.seed, tuple(chosen))).encode()


def noise(types: Mapping[str, TensorType], seed: int) -> Samples:
    """One feed of seeded noise: standard normal for floats, 0 and 1 for integers and booleans. Unknown dimensions
    become 1."""
    return Samples(f"seeded noise (seed {seed})", 1, False, ("noise",), None, _Noise(dict(types), seed), (0,))


def samples_or_noise(types: Mapping[str, TensorType], data: Given | None, preprocess: Preprocess, seed: int) -> Samples:
    """What the user gave, without its labels, or noise where that is nothing."""
    return noise(types, seed) if data is None else samples_of(types, data, preprocess, labelled=False)


def _drawn(random: np.random.Generator, name: str, kind: TensorType) -> np.ndarray:
    shape = tuple(dim if isinstance(dim, int) else 1 for dim in kind.dims or ())
    dtype = element_type(name, kind)
    try:
        if dtype.kind in "iub":
            return random.integers(0, 2, shape).astype(dtype)
        return random.standard_normal(shape).astype(dtype)
    except (MemoryError, ValueError) as error:
        raise DataError(f"input {quoted(name)} of shape {list(shape)} does not fit into the memory") from error
