"""Small networks with squeeze-and-excite modules, and an export's numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tse_onnx.runtime.ort import ort


class SqueezeExcite(nn.Module):
    """As people write it by hand."""

    def __init__(self, channels, reduced, activation=nn.ReLU, gate=nn.Sigmoid):
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = gate()

    def forward(self, x):
        return x * self.gate(self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True)))))


class LinearSqueezeExcite(nn.Module):
    """As the first implementations have it, with linear layers."""

    def __init__(self, channels, reduced):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, reduced), nn.ReLU(), nn.Linear(reduced, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x):
        samples, channels = x.shape[:2]
        return x * self.fc(self.pool(x).view(samples, channels)).view(samples, channels, 1, 1)


class Body(nn.Module):
    """A block whose squeeze-and-excite module stands in a list."""

    def __init__(self, channels, excite):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1), excite])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def network(excite=SqueezeExcite):
    """Three blocks, on maps of 14 × 10 and of 7 × 5; no mean at the end makes what the tiles do less."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        Body(8, excite(8, 4)),
        nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.SiLU(), excite(12, 3)),
        Body(12, excite(12, 6)),
        nn.Flatten(),
        nn.Linear(12 * 7 * 5, 5),
    )
    return lively(made)


def lively(network):
    """The network with excites that answer to their means, unlike those of a network that has not learnt anything."""
    with torch.no_grad():
        for module in network.modules():
            if "Excit" in type(module).__name__:
                for weight in module.parameters():
                    weight.mul_(4)
    return network.eval()


def images(samples=2, height=14, width=10):
    """Noise that is brighter below."""
    noise = torch.randn(samples, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise + torch.linspace(-3, 3, height)[:, None]


def outputs(model, *feed):
    """What onnxruntime makes of a model: a path, or a `ModelProto`."""
    given = str(model) if not hasattr(model, "SerializeToString") else model.SerializeToString()
    session = ort.InferenceSession(given, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, {name: value.numpy() for name, value in zip(names, feed, strict=True)})[0]


def difference(one, other):
    """The largest difference, relative to the largest value."""
    one, other = (np.asarray(each.detach() if hasattr(each, "detach") else each, np.float64) for each in (one, other))
    assert one.shape == other.shape
    return np.abs(one - other).max() / np.abs(other).max()
