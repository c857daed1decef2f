"""What the scripts that make the models share: the two exporters of torch, and the facts of a torch network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

SE_CLASSES = ("SqueezeExcite", "SEModule", "SqueezeExcitation", "EffectiveSEModule")

# torchvision without its compiled operators (whose build has to match torch's) imports once these two are declared; the
# declaration holds as long as this object does.
_TORCHVISION = torch.library.Library("torchvision", "FRAGMENT")


def declare_torchvision_operators() -> None:
    """Let torchvision be imported without its compiled operators."""
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _TORCHVISION.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def se_modules(network: nn.Module) -> list[nn.Module]:
    """The SE modules of a torch network, by their class."""
    return [module for _, module in network.named_modules() if type(module).__name__ in SE_CLASSES]


def se_inputs(network: nn.Module, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """The input shape (C, H, W) of each SE module, in the order of execution."""
    shapes: list[tuple[int, int, int]] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels, height, width = inputs[0].shape[1:]
        shapes.append((channels, height, width))

    handles = [module.register_forward_pre_hook(note) for module in se_modules(network)]
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return shapes


def to_onnx(network: nn.Module, images: Tensor, exporter: str, opset: int, dynamic_batch: bool) -> onnx.ModelProto:
    """The exporter's graph, untouched but for the stack traces, which name files of the machine it ran on.

    `exporter` is "torchscript", "dynamo", or "dynamo-unoptimised", which leaves out what torch simplifies afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        if exporter.startswith("dynamo"):
            torch.onnx.export(
                network,
                (images,),
                path,
                input_names=["input"],
                output_names=["logits"],
                opset_version=opset,
                dynamo=True,
                external_data=False,
                optimize=exporter == "dynamo",
                dynamic_shapes=({0: "batch"},) if dynamic_batch else None,
            )
        else:
            torch.onnx.export(
                network,
                (images,),
                path,
                input_names=["input"],
                output_names=["logits"],
                opset_version=opset,
                dynamo=False,
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}} if dynamic_batch else None,
            )
        model = onnx.load_model(path)
    for node in model.graph.node:
        for index in reversed(range(len(node.metadata_props))):
            if node.metadata_props[index].key.endswith("stack_trace"):
                del node.metadata_props[index]
    return model
