"""Random images to run the bundled models on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smooth_noise(batch: int, shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """`batch` seeded random images [batch, C, H, W], each channel of mean 0 and standard deviation 1.

    Their amplitude falls as 1/frequency, as that of photographs does: white noise would look the same everywhere, and
    an average over any part of it would equal the average over the whole.
    """
    channels, height, width = shape
    white = np.random.default_rng(seed).standard_normal((batch, channels, height, width))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    pink = np.fft.irfft2(np.fft.rfft2(white) / frequency, s=(height, width))
    images: NDArray[np.float32] = (pink / pink.std(axis=(2, 3), keepdims=True)).astype(np.float32)
    return images


def enlarge_digits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Digits of 8 by 8 pixels of 0 to 16 [N, 8, 8] as the network takes them: [N, 1, 32, 32], of 0 to 1."""
    images = pixels[:, None].astype(np.float32) * np.float32(1 / 16)
    return images.repeat(4, axis=2).repeat(4, axis=3)
