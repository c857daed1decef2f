"""Export the bundled models from their torch networks:  python -m models.export [NAME ...]

Needs, in this order (torchvision without its dependencies takes any build of torch):

    pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    pip install --no-deps torchvision==0.29.2
    pip install timm==1.0.31 onnx==1.23.2 onnxruntime==1.31.1 onnxscript==0.7.2 numpy==2.4.6 pillow==13.0.0

No pretrained weights are needed: every weight matrix and kernel becomes seeded noise, scaled layer by layer such that
the activations keep their size through the whole depth.  The stored files hold only the seed and the scale of each.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models.images import smooth_noise
from models.registry import Entry, record
from models.torch_networks import declare_torchvision_operators, se_inputs, se_modules, to_onnx
from models.weights import describe, fill, noise

declare_torchvision_operators()

import timm  # noqa: E402
import torchvision  # noqa: E402

SCALE = 1.5
"""Standard deviation of what a layer adds to its biases, theirs being 1."""
SMALLEST_NOISE = 64
"""Tensors of no more elements stay real, and so does every vector: the biases carry what BatchNorm was folded into."""


@dataclass(frozen=True)
class Export:
    """One file to make."""

    network: str
    package: str
    model: str
    short: str
    exporter: str
    opset: int
    size: int = 224
    dynamic_batch: bool = False

    @property
    def name(self) -> str:
        """The name of the file, without its suffix."""
        return f"{self.short}_{self.exporter}_{self.opset}"


B0 = ("EfficientNet-B0", "timm", "efficientnet_b0", "efficientnet_b0")
B0_TORCHVISION = ("EfficientNet-B0", "torchvision", "efficientnet_b0", "efficientnet_b0_tv")
B2 = ("EfficientNet-B2", "timm", "efficientnet_b2", "efficientnet_b2")
REGNETY = ("RegNetY-800MF", "timm", "regnety_008", "regnety_800mf")
MOBILENET = ("MobileNetV3-Large", "timm", "mobilenetv3_large_100", "mobilenetv3_large")
MOBILENET_TORCHVISION = ("MobileNetV3-Large", "torchvision", "mobilenet_v3_large", "mobilenetv3_large_tv")
SERESNET = ("SE-ResNet-50", "timm", "seresnet50", "seresnet50")
GHOSTNET = ("GhostNet", "timm", "ghostnet_100", "ghostnet")
MOBILENETV2 = ("MobileNetV2", "timm", "mobilenetv2_100", "mobilenetv2")

EXPORTS = (
    Export(*B0, "torchscript", 11),
    Export(*B0, "torchscript", 17, dynamic_batch=True),
    Export(*B0, "dynamo", 18),
    Export(*B0_TORCHVISION, "torchscript", 17),
    Export(*B2, "torchscript", 17, size=260),
    Export(*B2, "dynamo", 20, size=260, dynamic_batch=True),
    Export(*REGNETY, "torchscript", 11),
    Export(*REGNETY, "dynamo", 18, dynamic_batch=True),
    Export(*MOBILENET, "torchscript", 11),
    Export(*MOBILENET, "torchscript", 18, dynamic_batch=True),
    Export(*MOBILENET, "dynamo", 20),
    Export(*MOBILENET_TORCHVISION, "dynamo", 18, dynamic_batch=True),
    Export(*SERESNET, "torchscript", 17),
    Export(*GHOSTNET, "torchscript", 20, dynamic_batch=True),
    Export(*MOBILENETV2, "dynamo", 18, dynamic_batch=True),
)


def build(export: Export) -> nn.Module:
    """The torch network, its weights noise and its layers calibrated, in evaluation mode."""
    network: nn.Module
    if export.package == "timm":
        network = timm.create_model(export.model, pretrained=False)
    else:
        network = torchvision.models.get_model(export.model, weights=None)
    network.eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(noise(name, parameter.shape)))
        calibrate(network, torch.from_numpy(smooth_noise(16, (3, export.size, export.size), seed=2024)))
    return network


def calibrate(network: nn.Module, images: Tensor) -> None:
    """Give the outputs of every layer a sane scale, in one pass over `images`.

    Each layer is set the moment it runs, hence on inputs that are already right.  Weights are scaled as a whole, and
    BatchNorm only shifts, so that an exporter that folds it into the weights multiplies them by one: they remain noise
    times a number.  Medians over the images keep one wild image from setting the scale for all.
    """

    def scale_weight(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        if layer.bias is None:  # BatchNorm follows and takes the mean away
            scale = SCALE / output.var(dim=(2, 3)).mean(dim=1).median().sqrt()
            shift = torch.zeros(())
        else:  # classifiers, and the two layers of an SE block: most gates within 0.1 to 0.9
            shift = layer.bias.view(-1, *[1] * (output.ndim - 2))
            scale = SCALE / (output - shift).square().flatten(1).mean(dim=1).median().sqrt()
        layer.weight.mul_(scale)
        return (output - shift) * scale + shift

    def set_statistics(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(inputs[0].mean(dim=(2, 3)).median(dim=0).values)
        layer.running_var.fill_(1)
        layer.weight.fill_(1 + layer.eps).sqrt_()

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(scale_weight))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(set_statistics))
    network(images)
    for handle in handles:
        handle.remove()


def strip(model: onnx.ModelProto, network: nn.Module) -> None:
    """Replace the weights of `model` by the description of the noise they are, in place."""
    parameters: dict[tuple[int, ...], list[str]] = {}
    for name, parameter in network.named_parameters():
        parameters.setdefault(tuple(parameter.shape), []).append(name)
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1 and np.prod(tensor.dims) > SMALLEST_NOISE:
            seed, scale = recognise(onnx.numpy_helper.to_array(tensor), parameters.get(tuple(tensor.dims), []))
            describe(tensor, seed, scale)


def recognise(weights: np.ndarray, candidates: list[str]) -> tuple[str, float]:
    """Which of `candidates` the noise in `weights` was seeded by, and its scale."""
    for name in candidates:
        unit = noise(name, weights.shape)
        scale = float(np.vdot(weights, unit) / np.vdot(unit, unit))
        if np.allclose(weights, unit * np.float32(scale), rtol=1e-4, atol=1e-5 * abs(scale)):
            return name, scale
    raise ValueError(f"a tensor of shape {weights.shape} is none of the noise put into the network")


def deviation(model: onnx.ModelProto, network: nn.Module, images: Tensor) -> float:
    """The largest difference between the logits of the filled model and of the torch network."""
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    fill(filled)
    session = onnxruntime.InferenceSession(filled.SerializeToString())
    with torch.no_grad():
        expected = network(images).numpy()
    return float(np.abs(session.run(None, {"input": images.numpy()})[0] - expected).max())


def make(export: Export) -> None:
    """Make one file and its entry in the catalogue."""
    network = build(export)
    shape = (3, export.size, export.size)
    shapes = se_inputs(network, shape)
    modules = len(se_modules(network))
    assert len(shapes) == modules, "an SE module ran more than once or never"
    images = torch.from_numpy(smooth_noise(2 if export.dynamic_batch else 1, shape))
    model = to_onnx(network, images, export.exporter, export.opset, export.dynamic_batch)
    strip(model, network)
    difference = deviation(model, network, images)
    assert difference < 1e-3, f"the filled model deviates by {difference} from the network it came from"
    package = timm if export.package == "timm" else torchvision
    entry = Entry(
        name=export.name,
        network=export.network,
        source=f"{export.package} {package.__version__.split('+')[0]} {export.model}",
        exporter=export.exporter,
        opset=export.opset,
        input_shape=shape,
        dynamic_batch=export.dynamic_batch,
        se_modules=modules,
        se_inputs=tuple(shapes),
    )
    entry.path.write_bytes(model.SerializeToString(deterministic=True))
    record(entry)
    size = entry.path.stat().st_size / 1000
    print(f"{entry.name}: {modules} SE modules, {size:.0f} kB, deviates by {difference:.1e}", flush=True)


def main() -> None:
    """Make the named files, or all."""
    known = {export.name: export for export in EXPORTS}
    parser = argparse.ArgumentParser(prog="python -m models.export", description="Export the bundled models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(known)}")
    names = parser.parse_args().names
    for name in names:
        if name not in known:
            parser.error(f"no model is called {name!r}")
    for name in names or known:
        make(known[name])


if __name__ == "__main__":
    main()
