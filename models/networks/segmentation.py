"""Squeeze U-Net (Beheshti and Johnsson, 2020), L3U-Net (Okman et al., 2022) and EdgeSegNet (Lin et al., 2019).

Their papers have pictures of the layers and no counts for them; these follow implementations that are published: of
L3U-Net its authors' own. What is said nowhere was guessed, and is named with each network."""

from __future__ import annotations

from onnx import ModelProto

from models.networks.draft import Draft
from models.networks.squeezenet import fire

# Squeeze U-Net: channels of the squeeze and of either expansion of each fire module, on the way down.
_DOWN = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))
# On the way up: channels and stride of a transposed convolution, and the module behind it.
_UP = ((192, 1, (48, 192)), (128, 1, (32, 128)), (64, 2, (16, 64)), (32, 2, (16, 32)))
# L3U-Net: channels of the encoder, between pools of 2 rows.
_LEVELS = (8, 28, 56, 112)
_FOLD = 4
_NARROW, _WIDE = 193, 217  # channels of EdgeSegNet


def squeeze_unet(size: int = 64, classes: int = 3) -> ModelProto:
    """The encoder is SqueezeNet 1.1; as many classes as the image has channels, where nothing else is said.

    Guessed: zeros on both sides of the first map, which counts the same as both behind it."""
    draft = Draft("squeeze_unet", (3, size, size))
    first = draft.conv("image", "conv1", 64, 3, stride=2)
    value = draft.max_pool(first, "pool1", 3, 2, ceil=True)
    skips, number = [value], 2
    for stage, modules in enumerate(_DOWN):
        if stage:
            value = draft.max_pool(value, f"pool{number - 1}", 3, 2, ceil=True)
            skips.append(value)
        for index, (squeezed, expanded) in enumerate(modules):
            value = fire(draft, value, f"fire{number}", squeezed, expanded)
            if stage == len(_DOWN) - 1 and index == 1:
                skips.append(value)
            number += 1
    for (channels, stride, (squeezed, expanded)), skip in zip(_UP, reversed(skips), strict=True):
        wide = draft.transposed(value, f"up{number}", channels, stride)
        value = fire(draft, draft.joined([wide, skip], f"skip{number}"), f"fire{number}", squeezed, expanded)
        number += 1
    value = draft.joined([draft.resized(value, f"up{number}", 2), first], f"skip{number}")
    value = draft.resized(draft.conv(value, f"conv{number}", 64, 3), f"up{number + 1}", 2)
    return draft.model(draft.sigmoid(draft.conv(value, f"conv{number + 1}", classes, relu=False)))


def l3unet(size: int = 352, classes: int = 4) -> ModelProto:
    """As its authors train it on CamVid: the image is folded by 4, and so are the classes of its pixels at the end.

    Guessed: the order in which pixels become channels, which changes no count."""
    draft = Draft("l3unet", (3, size, size))
    value = draft.folded("image", "fold", _FOLD)
    for number, channels in enumerate((64, 64, 32)):
        value = draft.conv(value, f"prep{number}", channels)
    encoded: list[str] = []
    for level, channels in enumerate(_LEVELS, 1):
        pooled = draft.max_pool(value, f"pool{level}", 2, 2) if encoded else value
        value = draft.conv(pooled, f"enc{level}", channels, 3)
        encoded.append(value)
    for level, skip in reversed(list(enumerate(encoded[:-1], 1))):
        channels = draft.channels(skip)
        wide = draft.joined([draft.transposed(value, f"up{level}", channels, 2), skip], f"skip{level}")
        value = draft.conv(wide, f"dec{level}", channels if level > 1 else 48, 3)
    value = draft.conv(value, "dec0", 64, 3)
    for number in (1, 2, 3):
        value = draft.conv(value, f"conv_p{number}", 64, relu=number < 3)
    value = draft.conv(value, "conv", classes * _FOLD**2, relu=False)
    return draft.model(draft.unfolded(value, "unfold", _FOLD))


def edgesegnet(size: int = 256, classes: int = 32) -> ModelProto:
    """One way through the network, and connections beside it over modules that refine.

    Guessed: that a pixel is interpolated from the middle of its neighbours, and that the normalisation in front of the
    first Relu of the residual module is folded away."""
    draft = Draft("edgesegnet", (3, size, size))
    value = draft.conv("image", "conv1", 13, 7, stride=2, relu=False)
    padded = draft.max_pool(value, "pool1", 3, 2, ceil=True)
    value = draft.conv(value, "reduce1", _NARROW, 3, stride=8, pads=0)
    value = draft.conv(draft.conv(value, "reduce2", _NARROW), "reduce3", _NARROW, 3, relu=False)
    value = draft.added(draft.resized(value, "up1", 2, "linear"), _refined(draft, _residual(draft, padded), "refine1",
                                                                          _NARROW), "sum1", relu=False)  # fmt: skip
    value = draft.resized(_refined(draft, value, "refine2", _WIDE), "up2", 2, "linear")
    value = draft.added(value, _refined(draft, padded, "refine3", _WIDE), "sum2", relu=False)
    value = draft.resized(_refined(draft, value, "refine4", _WIDE), "up3", 4, "linear")
    return draft.model(draft.conv(value, "classes", classes, relu=False))


def _residual(draft: Draft, value: str) -> str:
    value = draft.relu(value)
    beside = draft.conv(value, "residual_beside", _NARROW, 3, stride=2, relu=False)
    value = draft.conv(draft.conv(value, "residual1", _NARROW), "residual2", _NARROW, 3, stride=2)
    return draft.added(beside, draft.conv(value, "residual3", _NARROW, relu=False), "residual_sum", relu=False)


def _refined(draft: Draft, value: str, name: str, channels: int) -> str:
    first = draft.conv(value, f"{name}_1", channels, relu=False)
    value = draft.conv(draft.conv(first, f"{name}_2", channels), f"{name}_3", channels, 3)
    return draft.added(draft.conv(value, f"{name}_4", channels, 3, relu=False), first, f"{name}_sum", relu=False)
