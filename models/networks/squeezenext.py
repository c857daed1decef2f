"""SqueezeNext (Gholami et al., 2018), after the training descriptions that its authors publish.

A block takes its channels down to a half and a quarter by two 1 × 1 convolutions, convolves by rows and by columns, and
comes back by a third 1 × 1. The first of a stage has a projection beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from models.networks.draft import Draft

_CHANNELS = (32, 64, 128, 256)
_FIRST = 64


def squeezenext(depths: Sequence[int], width: int = 1, later: bool = False, size: int = 227) -> ModelProto:
    """`depths` are the blocks of the four stages, `width` multiplies their channels. The `later` ones, v2 to v5, have
    5 × 5 pixels in the first convolution for 7 × 7, and the first block of a stage reads what the projection made."""
    draft = Draft("squeezenext", (3, size, size))
    value = draft.conv("image", "conv1", _FIRST, 5 if later else 7, stride=2, pads=0)
    value, number = draft.max_pool(value, "pool1", 3, 2, ceil=True), 2
    for stage, (depth, channels) in enumerate(zip(depths, _CHANNELS, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            value, number = _block(draft, value, number, channels * width, stride, not block, later)
    value = draft.conv(value, f"conv{number}", 128 if width == 1 else _FIRST * width)
    return draft.model(draft.dense(draft.global_pool(value, "pool5"), "fc1000", 1000))


def _block(
    draft: Draft, value: str, number: int, channels: int, stride: int, first: bool, later: bool
) -> tuple[str, int]:
    shortcut = value
    if first:
        shortcut = draft.conv(value, f"conv{number}", channels, stride=stride)
        number += 1
        if later:
            value, stride = shortcut, 1
    half = channels // 2
    for size, kernel in ((half, (1, 1)), (half // 2, (1, 1)), (half, (1, 3)), (half, (3, 1)), (channels, (1, 1))):
        value = draft.conv(value, f"conv{number}", size, kernel, stride)
        number, stride = number + 1, 1
    return draft.added(shortcut, value, f"sum{number - 1}"), number
