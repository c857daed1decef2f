"""The bundled models: real exports of networks with squeeze-and-excite blocks, and of one without.

`load` gives a complete model; most have weights of seeded noise, which the stored files only describe (see README.md).
"""

from __future__ import annotations

from os import PathLike

import numpy as np
import onnx
from numpy.typing import NDArray

from models.images import enlarge_digits, smooth_noise
from models.registry import FOLDER, Entry, catalogue
from models.weights import fill
from tse_onnx.runtime.telemetry import turn_off

__all__ = ["Entry", "catalogue", "digits", "images", "load", "names", "save", "smooth_noise"]

turn_off()  # before any script of this folder imports onnxruntime


def names() -> list[str]:
    """The names of the bundled models, sorted."""
    return [entry.name for entry in catalogue()]


def load(name: str) -> onnx.ModelProto:
    """The model called `name`, its weights filled in; a KeyError if there is none."""
    model = onnx.load_model(_entry(name).path)
    fill(model)
    return model


def save(name: str, path: str | PathLike[str]) -> None:
    """Write the model called `name`, its weights filled in, to `path`."""
    onnx.save_model(load(name), path)


def images(name: str, batch: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Seeded images for the model called `name`: of smooth noise, or for `digits_se` drawn from the held-out digits."""
    if name == "digits_se":
        held_out, _ = digits()
        return held_out[np.random.default_rng(seed).choice(len(held_out), batch)]
    return smooth_noise(batch, _entry(name).input_shape, seed)


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The digits that `digits_se` never saw in training, as it takes them [N, 1, 32, 32], and their labels [N]."""
    with np.load(FOLDER / "digits_test.npz") as stored:
        return enlarge_digits(stored["pixels"]), stored["labels"].astype(np.int64)


def _entry(name: str) -> Entry:
    for entry in catalogue():
        if entry.name == name:
            return entry
    raise KeyError(name)
