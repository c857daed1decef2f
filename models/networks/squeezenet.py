"""SqueezeNet (Iandola et al., 2016), versions 1.0 and 1.1."""

from __future__ import annotations

from onnx import ModelProto

from models.networks.draft import Draft

# Channels of the squeeze and of either expansion of each fire module, between pools of 3 rows and stride 2.
_FIRES = {
    "1.0": (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),)),
    "1.1": (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))),
}


def squeezenet(version: str, size: int | None = None) -> ModelProto:
    """Version 1.0, of 227 × 227 pixels, or 1.1, of 224 × 224: these sizes give the counts that are published."""
    size = size or (227 if version == "1.0" else 224)
    draft = Draft(f"squeezenet_{version}", (3, size, size))
    channels, kernel = (96, 7) if version == "1.0" else (64, 3)
    value, number = draft.conv("image", "conv1", channels, kernel, stride=2, pads=0), 2
    for fires in _FIRES[version]:
        value = draft.max_pool(value, f"pool{number - 1}", 3, 2)
        for squeezed, expanded in fires:
            value = fire(draft, value, f"fire{number}", squeezed, expanded)
            number += 1
    value = draft.conv(value, f"conv{number}", 1000)
    return draft.model(draft.global_pool(value, f"pool{number}"))


def fire(draft: Draft, value: str, name: str, squeezed: int, expanded: int) -> str:
    """A fire module: few channels of 1 × 1, and as many of 1 × 1 as of 3 × 3 made of these."""
    value = draft.conv(value, f"{name}_squeeze1x1", squeezed)
    wide = [draft.conv(value, f"{name}_expand{size}x{size}", expanded, size) for size in (1, 3)]
    return draft.joined(wide, f"{name}_concat")
