"""What a tiled block computes, from its definition and in numpy alone; it shares nothing with the product."""

from __future__ import annotations

import numpy as np

INNER = {
    "Relu": lambda v: np.maximum(v, 0),
    "SiLU": lambda v: v / (1 + np.exp(-v)),
    "SiLU swapped": lambda v: v / (1 + np.exp(-v)),
    "HardSwish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
    "HardSwish decomposed": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
    "HardSwish by Clip": lambda v: v * np.clip(v + 3, 0, 6) / 6,
}
GATE = {
    "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "HardSigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
}


def tiled_block(
    h: np.ndarray, weights: dict[str, np.ndarray], rows: int, inner: str = "Relu", gate: str = "Sigmoid"
) -> np.ndarray:
    """The block on every strip of `rows` rows of `h` [N, C, H, W]: each scaled by the gate of its own mean."""
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    result = np.empty(h.shape, np.float64)
    for top in range(0, h.shape[2], rows):
        strip = h[:, :, top : top + rows].astype(np.float64)
        mean = strip.mean(axis=(2, 3))
        reduced = INNER[inner](mean @ wide["w1"][:, :, 0, 0].T + wide["b1"])
        scale = GATE[gate](reduced @ wide["w2"][:, :, 0, 0].T + wide["b2"])
        result[:, :, top : top + rows] = strip * scale[:, :, None, None]
    return result


def whole_model(
    x: np.ndarray, weights: dict[str, np.ndarray], rows: int, inner: str = "Relu", gate: str = "Sigmoid"
) -> np.ndarray:
    """The output of `graphs.se_model` with its block tiled."""
    h = np.where(x < 0, x * np.asarray(0.5, x.dtype), x)
    return -tiled_block(h, weights, rows, inner, gate)
