"""AlexNet (Krizhevsky et al., 2012), Tiny Darknet (Redmon, 2016) and MobileNet (Howard et al., 2017)."""

from __future__ import annotations

from onnx import ModelProto

from models.networks.draft import Draft

_DARKNET = (
    ((16, 3),),
    ((32, 3),),
    ((16, 1), (128, 3), (16, 1), (128, 3)),
    ((32, 1), (256, 3), (32, 1), (256, 3)),
    ((64, 1), (512, 3), (64, 1), (512, 3), (128, 1)),
)  # channels and size of each convolution, between pools of 2 rows
_MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def alexnet(size: int = 227) -> ModelProto:
    """As it was trained on two processors: three of its convolutions have two groups."""
    draft = Draft("alexnet", (3, size, size))
    value = draft.normalised(draft.conv("image", "conv1", 96, 11, stride=4, pads=0), "norm1")
    value = draft.conv(draft.max_pool(value, "pool1", 3, 2), "conv2", 256, 5, groups=2)
    value = draft.max_pool(draft.normalised(value, "norm2"), "pool2", 3, 2)
    value = draft.conv(value, "conv3", 384, 3)
    value = draft.conv(draft.conv(value, "conv4", 384, 3, groups=2), "conv5", 256, 3, groups=2)
    value = draft.dense(draft.max_pool(value, "pool5", 3, 2), "fc6", 4096, relu=True)
    return draft.model(draft.dense(draft.dense(value, "fc7", 4096, relu=True), "fc8", 1000))


def tiny_darknet(size: int = 224) -> ModelProto:
    """Layers of two sizes, with a pool between the stages."""
    draft, value, number = Draft("tiny_darknet", (3, size, size)), "image", 1
    for stage, convolutions in enumerate(_DARKNET):
        if stage:
            value = draft.max_pool(value, f"pool{stage}", 2, 2)
        for channels, size in convolutions:
            value, number = draft.conv(value, f"conv{number}", channels, size), number + 1
    value = draft.conv(value, f"conv{number}", 1000, relu=False)
    return draft.model(draft.global_pool(value, "pool"))


def mobilenet(size: int = 224) -> ModelProto:
    """Of full width."""
    draft = Draft("mobilenet", (3, size, size))
    value = draft.conv("image", "conv1", 32, 3, stride=2)
    for number, (channels, stride) in enumerate(_MOBILENET, 2):
        value = draft.conv(value, f"conv{number}_dw", draft.channels(value), 3, stride, groups=draft.channels(value))
        value = draft.conv(value, f"conv{number}_pw", channels)
    return draft.model(draft.dense(draft.global_pool(value, "pool"), "fc1000", 1000))
