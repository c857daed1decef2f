"""Networks of torch with relatives of squeeze-and-excite, or with one axis, that packages have not by a name alone.

`effdet` has EfficientDet: pip install --no-deps effdet==0.4.1 omegaconf antlr4-python3-runtime==4.9.3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Relative:
    """A network: where it comes from, how it is made, and the shape of its input without the batch."""

    package: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


class SimplifiedChannelAttention(nn.Module):
    """Of NAFNet (arXiv:2204.04676): a mean, one convolution, and no gate function at all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.sca(images)


class SimpleGate(nn.Module):
    """Half of the channels times the other half."""

    def forward(self, images: Tensor) -> Tensor:
        one, other = images.chunk(2, dim=1)
        return one * other


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map, as NAFNet writes it out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(1, keepdim=True)
        variance = (images - mean).pow(2).mean(1, keepdim=True)
        normal = (images - mean) / (variance + 1e-6).sqrt()
        return self.weight.view(1, -1, 1, 1) * normal + self.bias.view(1, -1, 1, 1)


class NAFBlock(nn.Module):
    """Depthwise convolution, gate and attention; then a feed-forward with a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            SimpleGate(),
            SimplifiedChannelAttention(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.feed = nn.Sequential(
            ChannelNorm(channels), nn.Conv2d(channels, 2 * channels, 1), SimpleGate(), nn.Conv2d(channels, channels, 1)
        )
        self.beta = nn.Parameter(0.5 * torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(0.5 * torch.ones(1, channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = images + self.beta * self.mix(images)
        return images + self.gamma * self.feed(images)


class NAFNet(nn.Module):
    """A U-Net of such blocks, of two levels."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        widths = (width, 2 * width)
        self.encoders = nn.ModuleList(NAFBlock(one) for one in widths)
        self.downs = nn.ModuleList(nn.Conv2d(one, 2 * one, 2, 2) for one in widths)
        self.middle = NAFBlock(4 * width)
        self.ups = nn.ModuleList(nn.Sequential(nn.Conv2d(2 * one, 4 * one, 1), nn.PixelShuffle(2)) for one in widths)
        self.decoders = nn.ModuleList(NAFBlock(one) for one in widths)

    def forward(self, images: Tensor) -> Tensor:
        kept, value = [], self.intro(images)
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            value = encoder(value)
            kept.append(value)
            value = down(value)
        value = self.middle(value)
        for decoder, up, skip in reversed(tuple(zip(self.decoders, self.ups, kept, strict=True))):
            value = decoder(up(value) + skip)
        return images + self.ending(value)


class SEModule1d(nn.Module):
    """The squeeze-and-excite of ECAPA-TDNN (arXiv:2005.07143): a mean over time."""

    def __init__(self, channels: int, bottleneck: int = 32) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Conv1d(channels, bottleneck, 1), nn.ReLU(), nn.BatchNorm1d(bottleneck),
            nn.Conv1d(bottleneck, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, frames: Tensor) -> Tensor:
        return frames * self.se(frames)


class Res2Block(nn.Module):
    """Dilated convolutions in a cascade over parts of the channels, and a squeeze-and-excite."""

    def __init__(self, channels: int, dilation: int, parts: int = 4) -> None:
        super().__init__()
        width = channels // parts
        self.enter = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.BatchNorm1d(channels))
        self.cascade = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(width)
            )
            for _ in range(parts - 1)
        )
        self.leave = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.BatchNorm1d(channels))
        self.se = SEModule1d(channels)

    def forward(self, frames: Tensor) -> Tensor:
        first, *others = self.enter(frames).chunk(len(self.cascade) + 1, dim=1)
        made = [first]
        for step, part in zip(self.cascade, others, strict=True):
            made.append(step(part + made[-1] if len(made) > 1 else part))
        return frames + self.se(self.leave(torch.cat(made, dim=1)))


class EcapaTdnn(nn.Module):
    """ECAPA-TDNN with attentive statistics pooling."""

    def __init__(self, channels: int = 64, features: int = 80) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv1d(features, channels, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(channels))
        self.blocks = nn.ModuleList(Res2Block(channels, dilation) for dilation in (2, 3, 4))
        self.merge = nn.Sequential(nn.Conv1d(3 * channels, 3 * channels, 1), nn.ReLU())
        self.attention = nn.Sequential(
            nn.Conv1d(9 * channels, 32, 1), nn.ReLU(), nn.BatchNorm1d(32), nn.Tanh(), nn.Conv1d(32, 3 * channels, 1)
        )
        self.norm, self.head = nn.BatchNorm1d(6 * channels), nn.Linear(6 * channels, 48)

    def forward(self, frames: Tensor) -> Tensor:
        value, made = self.enter(frames), []
        for block in self.blocks:
            value = block(value)
            made.append(value)
        value = self.merge(torch.cat(made, dim=1))
        mean = value.mean(dim=2, keepdim=True).expand_as(value)
        spread = (value.var(dim=2, keepdim=True, unbiased=False) + 1e-4).sqrt().expand_as(value)
        weights = self.attention(torch.cat((value, mean, spread), dim=1)).softmax(dim=2)
        centre = (value * weights).sum(dim=2)
        variance = (value.square() * weights).sum(dim=2) - centre.square()
        return self.head(self.norm(torch.cat((centre, variance.clamp(min=1e-4).sqrt()), dim=1)))


class _Joined(nn.Module):
    """A network of several outputs, as one row of numbers for each image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        classes, boxes = self.network(images)
        return torch.cat([level.flatten(1) for level in (*classes, *boxes)], dim=1)


def _efficientdet() -> nn.Module:
    import effdet

    return _Joined(
        effdet.create_model("tf_efficientdet_d0", pretrained=False, pretrained_backbone=False, image_size=(128, 128))
    )


def _cbam(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, block_args={"attn_layer": "cbam"})


RELATIVES = {
    "resnet18_cbam": Relative("timm", _cbam("resnet18"), (3, 128, 128)),
    "resnet50_cbam": Relative("timm", _cbam("resnet50"), (3, 128, 128)),
    "nafnet": Relative("torch", NAFNet, (3, 64, 64)),
    "ecapa_tdnn": Relative("torch", EcapaTdnn, (80, 120)),
    "efficientdet_d0": Relative("effdet", _efficientdet, (3, 128, 128)),
}
