"""onnx2torch: the model as a torch module."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.tool import Loaded, Tool


def load(model: Path) -> Loaded:
    import onnx
    import onnx2torch
    import torch

    torch.set_num_threads(1)
    read = onnx.load_model(model)
    names = [value.name for value in read.graph.input]
    module = onnx2torch.convert(read).eval()
    count = sum(node.op == "call_module" for node in module.graph.nodes)

    def run(feeds):
        with torch.no_grad():
            made = module(*(torch.from_numpy(feeds[name]) for name in names))
        return [value.numpy() for value in (made if isinstance(made, (tuple, list)) else [made])]

    return Loaded(run, count)


TOOLS = (
    Tool(
        "onnx2torch",
        "onnx2torch 1.5.15",
        ("onnx2torch==1.5.15", "torch==2.14.1", "torchvision==0.29.1"),
        load,
        target="onnx2torch",
        quick=True,
    ),
)
