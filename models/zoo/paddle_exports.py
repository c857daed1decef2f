"""Networks in the manner of PaddleClas by paddle2onnx.

pip install paddlepaddle paddle2onnx
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import onnx
import paddle
from paddle import nn

from models.zoo.facts import Facts, Module, save

OPSETS = (11, 13, 16)


class SEModule(nn.Layer):  # type: ignore[misc]
    """PaddleClas's SE module of PP-LCNet and MobileNetV3."""

    def __init__(self, channels: int, gate: nn.Layer, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.conv1 = nn.Conv2D(channels, channels // reduction, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2D(channels // reduction, channels, 1)
        self.gate = gate

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = self.gate(self.conv2(self.relu(self.conv1(self.avg_pool(x)))))
        return paddle.multiply(x=x, y=gate)


class SELayer(nn.Layer):  # type: ignore[misc]
    """PaddleClas's SE layer of SE-ResNet and SENet, with linear layers."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.pool2d_gap = nn.AdaptiveAvgPool2D(1)
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.relu = nn.ReLU()
        self.excitation = nn.Linear(channels // reduction, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        pool = paddle.squeeze(self.pool2d_gap(x), axis=[2, 3])
        excitation = self.sigmoid(self.excitation(self.relu(self.squeeze(pool))))
        return x * paddle.unsqueeze(excitation, axis=[2, 3])


class ESEModule(nn.Layer):  # type: ignore[misc]
    """PaddleClas's effective SE of PP-HGNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.conv = nn.Conv2D(channels, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.multiply(x=x, y=self.sigmoid(self.conv(self.avg_pool(x))))


KINDS = {"SEModule": "se", "SELayer": "se", "ESEModule": "ese", "SqueezeExcitation": "se"}


def _separable(into: int, out: int, stride: int, attention: nn.Layer | None) -> nn.Sequential:
    layers = [nn.Conv2D(into, into, 3, stride, 1, groups=into, bias_attr=False), nn.BatchNorm2D(into), nn.Hardswish()]
    if attention is not None:
        layers.append(attention)
    return nn.Sequential(*layers, nn.Conv2D(into, out, 1, bias_attr=False), nn.BatchNorm2D(out), nn.Hardswish())


def _network(kind: str) -> nn.Layer:
    attention = {
        "lcnet": lambda channels: SEModule(channels, nn.Hardsigmoid()),
        "sigmoid": lambda channels: SEModule(channels, nn.Sigmoid()),
        "senet": SELayer,
        "hgnet": ESEModule,
        "none": lambda channels: None,
    }[kind]
    return nn.Sequential(
        nn.Conv2D(3, 16, 3, 2, 1, bias_attr=False), nn.BatchNorm2D(16), nn.Hardswish(),
        _separable(16, 32, 1, attention(16)), _separable(32, 64, 2, attention(32)), _separable(64, 64, 1, attention(64)),
        _separable(64, 128, 2, attention(64)), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def networks() -> dict[str, nn.Layer]:
    """The networks to make: stages of separable convolutions with each attention, and paddle's own MobileNetV3."""
    made = {f"paddle_{kind}": _network(kind) for kind in ("lcnet", "sigmoid", "senet", "hgnet", "none")}
    made["paddle_mobilenet_v3_small"] = paddle.vision.models.mobilenet_v3_small()
    made["paddle_mobilenet_v3_large"] = paddle.vision.models.mobilenet_v3_large()
    return made


def modules_of(network: nn.Layer, images: paddle.Tensor) -> tuple[Module, ...]:
    """The network's blocks in order of execution, by the inputs that their layers get."""
    found: list[Module] = []

    def note(layer: nn.Layer, inputs: tuple[paddle.Tensor, ...]) -> None:
        found.append(Module(KINDS[type(layer).__name__], *inputs[0].shape[1:]))

    hooks = [
        layer.register_forward_pre_hook(note)
        for layer in network.sublayers(include_self=True)
        if type(layer).__name__ in KINDS
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return tuple(found)


def make(folder: Path, names: Sequence[str]) -> None:
    """Export every network, or the named ones, at every opset; static and dynamic batches take turns."""
    for name, network in networks().items():
        if names and name not in names:
            continue
        network.train()
        network(paddle.randn([4, 3, 128, 128]))
        network.eval()
        modules = modules_of(network, paddle.randn([1, 3, 128, 128]))
        for place, opset in enumerate(OPSETS):
            dynamic = place % 2 == 0
            with tempfile.TemporaryDirectory() as scratch:
                spec = paddle.static.InputSpec([None if dynamic else 1, 3, 128, 128], "float32", "images")
                try:
                    paddle.onnx.export(network, f"{scratch}/model", input_spec=[spec], opset_version=opset)
                    model = onnx.load_model(f"{scratch}/model.onnx")
                except Exception as error:
                    print(f"{name}: opset {opset} fails: {type(error).__name__}: {error}"[:300], flush=True)
                    continue
            source = f"paddlepaddle {paddle.__version__}"
            written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
            facts = Facts(name, source, f"paddle2onnx {version('paddle2onnx')}", written, dynamic, modules)
            save(model, facts, folder)
