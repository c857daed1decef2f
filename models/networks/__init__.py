"""Published networks, layer by layer, as ONNX models without an exporter: `build` makes one by its name.

They are the networks that the table of hardware results in the SqueezeNext paper (Gholami et al., 2018) compares, and
three small ones for segmentation. There is a bias in every convolution, as if the normalisation behind it had been
folded into it. Weights are seeded noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from onnx import ModelProto

from models.networks.classic import alexnet, mobilenet, tiny_darknet
from models.networks.segmentation import edgesegnet, l3unet, squeeze_unet
from models.networks.squeezenet import squeezenet
from models.networks.squeezenext import squeezenext

# Blocks of each of the four stages of a SqueezeNext: the baseline, and its variants by where they have their depth.
_BASELINE, _V3, _V4, _V5 = (6, 6, 8, 1), (4, 8, 8, 1), (2, 10, 8, 1), (2, 4, 14, 1)

NETWORKS: Mapping[str, Callable[..., ModelProto]] = {
    "alexnet": alexnet,
    "squeezenet_1.0": partial(squeezenet, "1.0"),
    "squeezenet_1.1": partial(squeezenet, "1.1"),
    "tiny_darknet": tiny_darknet,
    "squeezenext_1.0_23": partial(squeezenext, _BASELINE),
    "squeezenext_1.0_23v2": partial(squeezenext, _BASELINE, later=True),
    "squeezenext_1.0_23v3": partial(squeezenext, _V3, later=True),
    "squeezenext_1.0_23v4": partial(squeezenext, _V4, later=True),
    "squeezenext_1.0_23v5": partial(squeezenext, _V5, later=True),
    "mobilenet": mobilenet,
    "squeezenext_2.0_23": partial(squeezenext, _BASELINE, width=2),
    "squeezenext_2.0_23v4": partial(squeezenext, _V4, width=2, later=True),
    "squeezenext_2.0_23v5": partial(squeezenext, _V5, width=2, later=True),
    "squeeze_unet": squeeze_unet,
    "l3unet": l3unet,
    "edgesegnet": edgesegnet,
}
"""In the order of that table. Only the depths of 1.0-SqNxt-23v2 to v4 and of 2.0-SqNxt-23v4 are published; the rest of
them is that of v5."""


def build(name: str, size: int | None = None) -> ModelProto:
    """The network called `name`, for one image of `size` × `size` pixels, as published if None, its input `image`; a
    KeyError if there is none."""
    return NETWORKS[name]() if size is None else NETWORKS[name](size=size)
