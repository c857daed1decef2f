"""Weights that are seeded noise: described in the stored file, written out on loading.

A stored tensor carries no data but two metadata entries, the name that seeds its noise and a scale.  ``fill`` replaces
them with the numbers, so that what it returns is an ordinary, self-contained ONNX model.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

SEED_KEY = "noise_seed"
SCALE_KEY = "noise_scale"


def noise(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Uniform noise of mean 0 and variance 1, a function of `name` and `shape` alone.

    It is made from the raw output of the bit generator, which numpy promises never to change (it promises no such thing
    of its distributions), by a conversion and a product, which round alike on every platform.
    """
    size = math.prod(shape)
    words = np.random.PCG64(zlib.crc32(name.encode())).random_raw((size + 1) // 2)
    integers = words.astype("<u8").view("<i4")[:size].astype(np.float32)
    return (integers * np.float32(math.sqrt(3) / 2**31)).reshape(shape)


def describe(tensor: onnx.TensorProto, seed: str, scale: float) -> None:
    """Replace the data of `tensor` by the description of noise."""
    for field in ("raw_data", "float_data"):
        tensor.ClearField(field)
    tensor.metadata_props.add(key=SEED_KEY, value=seed)
    tensor.metadata_props.add(key=SCALE_KEY, value=repr(scale))


def fill(model: onnx.ModelProto) -> None:
    """Write out every described tensor of `model`, in place."""
    for tensor in model.graph.initializer:
        described = {entry.key: entry.value for entry in tensor.metadata_props}
        if SEED_KEY not in described:
            continue
        values = noise(described[SEED_KEY], tensor.dims) * np.float32(described[SCALE_KEY])
        tensor.raw_data = values.astype("<f4", copy=False).tobytes()
        for index in reversed(range(len(tensor.metadata_props))):
            if tensor.metadata_props[index].key in (SEED_KEY, SCALE_KEY):
                del tensor.metadata_props[index]
